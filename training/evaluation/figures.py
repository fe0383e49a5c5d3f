"""The figures of an evaluation. Nothing here needs TensorFlow."""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from textmodel.metadata import Abstention
from training.evaluation.abstention import selective_metrics
from training.evaluation.fonts import drawable
from training.evaluation.metrics import Answers, CalibrationCurve, Evaluation

_MAX_NAMED = 64
"""Maximum number of labels that a figure names. With more, it is no larger and shows colours only."""
_LABEL_INCHES = 1.2
"""The width of a label that the figure has room for. A wider label makes the figure larger, not the matrix smaller."""


class Figures(NamedTuple):
    """The figures that were drawn, and those that could not be."""

    images: dict[str, bytes]
    """The drawn figures, as PNG, by name."""
    missing: dict[str, str]
    """The reasons why the other figures could not be drawn, by name."""

    def notes(self) -> list[str]:
        """Returns a sentence for each figure that is missing."""
        return [f"the figure {name} is missing: {reason}" for name, reason in self.missing.items()]


def drawn(figures: Mapping[str, Callable[[], Figure]]) -> Figures:
    """Draws figures. A figure that fails is left out, since the model or the report is useful without it."""
    found = Figures({}, {})
    for name, draw in figures.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Matplotlib warns of code and fonts, not of the model
                found.images[name] = png(draw())
        except Exception as error:
            found.missing[name] = " ".join(f"{type(error).__name__}: {error}".split())
    return found


def confusion_matrix(evaluation: Evaluation, labels: Sequence[str]) -> Figure:
    """Draws the confusion matrix: numbers of texts, coloured by their share of the true class. With more than
    `_MAX_NAMED` labels, it shows colours only. See `fonts.Labels` for how a label is drawn.
    """
    counts = evaluation.confusion
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    inches = 3.5 + 0.26 * min(len(labels), _MAX_NAMED)
    figure = Figure(figsize=(inches + 1, inches), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(labels) <= _MAX_NAMED:
        for row, column in np.argwhere(counts):
            color = "white" if shares[row, column] > 0.5 else "black"
            size = 8 if len(labels) > 10 else 11
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=color, fontsize=size)
        ticks = range(len(labels))
        texts, families = drawable(labels)
        axes.set_xticks(ticks, texts, rotation=90, parse_math=False, family=families)
        axes.set_yticks(ticks, texts, parse_math=False, family=families)
        widest = max(label.get_window_extent().width for label in axes.get_yticklabels()) / figure.dpi
        inches += max(0.0, widest - _LABEL_INCHES)
        figure.set_size_inches(inches + 1, inches)
    axes.set(xlabel="predicted", ylabel="true", title="Test texts by true and predicted label")
    figure.colorbar(image, label="share of the true label", shrink=0.7, aspect=30, pad=0.01)
    return figure


def calibration_curve(calibration: CalibrationCurve) -> Figure:
    """Draws the share of right answers over the winning probability. The size of a dot shows the number of texts."""
    figure = Figure(figsize=(6, 5.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], linestyle=":", color="tab:gray", label="perfectly calibrated")
    axes.plot(calibration.confidence, calibration.accuracy, color="tab:blue")
    sizes = 20 + 280 * calibration.texts / calibration.texts.max()
    axes.scatter(calibration.confidence, calibration.accuracy, sizes, color="tab:blue", alpha=0.6, label="this model")
    axes.set(
        xlim=(0, 1.02),
        ylim=(0, 1.02),
        xlabel="winning probability",
        ylabel="share of right answers",
        title=f"Calibration (expected error {calibration.expected_error:.4f})",
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", markerscale=0.5)
    return figure


def precision_coverage_curve(answers: Answers, abstention: Abstention | None = None) -> Figure:
    """Draws the precision over the coverage, as one threshold for all labels falls from 1 to 0. A star marks the
    version's own thresholds.
    """
    order = np.argsort(-answers.confidence, kind="stable")
    right = (answers.predicted == answers.classes)[order]
    count = np.arange(1, len(order) + 1)
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(count / len(order), np.cumsum(right) / count, color="tab:blue", label="one threshold for all labels")
    if abstention:
        reached = selective_metrics(answers, abstention.thresholds)
        low, high = reached.interval
        error = [[max(0.0, reached.precision - low)], [max(0.0, high - reached.precision)]]
        label = f"the version's thresholds: {reached.coverage:.3f}, {reached.precision:.3f}"
        axes.errorbar(reached.coverage, reached.precision, error, fmt="*", markersize=12, color="tab:red", label=label)
        axes.axhline(abstention.target_precision, linestyle=":", color="tab:gray", label="target precision")
    axes.set(title="Precision against coverage, on test texts", xlabel="coverage", ylabel="precision", xlim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    return figure


def png(figure: Figure) -> bytes:
    """Returns the figure as a PNG without Matplotlib's version in its metadata."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    return content.getvalue()
