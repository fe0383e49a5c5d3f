"""What a person reads of a run: training curves, confusion matrix, model card."""

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.table import Table

from textmodel.metadata import Metadata, MultiHot, NGrams, PaddedSequence
from textmodel.version_folder import VersionFolder
from training.classifier import History, best_epoch
from training.costs import Cost
from training.evaluation import CALIBRATION_BINS, Evaluation
from training.settings import shown

_CURVES_FILE = "curves.png"
_CONFUSION_FILE = "confusion.png"
_CARD_FILE = "model_card.md"


def write(
    folder: VersionFolder,
    labels: Sequence[str],
    history: History,
    evaluation: Evaluation,
    command: str,
    *,
    uncalibrated: Evaluation | None,
    costs: Sequence[Cost],
) -> None:
    """Writes the report of a run into the version folder.

    Args:
        history: of the fit with validation.
        evaluation: on the test set.
        command: the command line that makes such a model.
        uncalibrated: the evaluation before calibration, for a preset that is calibrated.
        costs: of the parts of the run.
    """
    folder.report.mkdir()
    _save(curves(history), folder.report / _CURVES_FILE)
    _save(confusion_matrix(evaluation, labels), folder.report / _CONFUSION_FILE)
    card = model_card(
        folder.metadata, labels, best_epoch(history), evaluation, command, uncalibrated=uncalibrated, costs=costs
    )
    (folder.report / _CARD_FILE).write_text(card, encoding="utf-8")


def curves(history: History) -> Figure:
    """Draws loss and accuracy of training and validation over the epochs, with the best epoch marked."""
    best = best_epoch(history)
    epochs = np.arange(1, len(history["loss"]) + 1)
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, metric in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        axes.plot(epochs, history[metric], "o-", markersize=4, color="tab:gray", label="training")
        axes.plot(epochs, history[f"val_{metric}"], "o-", markersize=4, color="tab:blue", label="validation")
        at_best = history[f"val_{metric}"][best - 1]
        axes.axvline(best, linestyle=":", color="tab:red")
        axes.plot(best, at_best, "*", markersize=14, color="tab:red", label=f"best epoch {best}: {at_best:.3f}")
        axes.set(title=metric.capitalize(), xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def confusion_matrix(evaluation: Evaluation, labels: Sequence[str]) -> Figure:
    """Draws the confusion matrix: numbers of texts, coloured by their share of the true class."""
    counts = evaluation.confusion
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    inches = 3.5 + 0.26 * len(labels)
    figure = Figure(figsize=(inches + 1, inches), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(counts):
        color = "white" if shares[row, column] > 0.5 else "black"
        size = 8 if len(labels) > 10 else 11
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=color, fontsize=size)
    ticks = range(len(labels))
    axes.set_xticks(ticks, labels, rotation=90)
    axes.set_yticks(ticks, labels)
    axes.set(xlabel="predicted", ylabel="true", title="Test texts by true and predicted label")
    figure.colorbar(image, label="share of the true label", shrink=0.7, aspect=30, pad=0.01)
    return figure


def _vector(vectorizer: MultiHot | PaddedSequence | NGrams) -> str:
    """Returns what a text is to the dense layers, in words."""
    match vectorizer:
        case MultiHot():
            return f"a multi-hot vector over {vectorizer.num_words:,} word indices"
        case PaddedSequence():
            return (
                f"its first {vectorizer.length:,} words, each a vector of {vectorizer.dimensions} components, of which"
                " the largest are kept"
            )
        case NGrams(orders=1):
            return f"a sparse vector over {vectorizer.num_words:,} word indices"
        case NGrams():
            return (
                f"a sparse vector over {vectorizer.num_words:,} word indices and {vectorizer.buckets:,} buckets of"
                f" n-grams of 2 to {vectorizer.orders} words"
            )


def model_card(
    metadata: Metadata,
    labels: Sequence[str],
    best: int,
    evaluation: Evaluation,
    command: str,
    *,
    uncalibrated: Evaluation | None,
    costs: Sequence[Cost],
) -> str:
    """Returns the model card, Markdown with relative links to the images."""
    data = metadata.data_set
    layers = ", ".join(f"{layer.units} {layer.activation}" for layer in metadata.network)
    per_class = [
        (label, f"{precision:.3f}", f"{recall:.3f}", f"{f1:.3f}", f"{support:,}")
        for label, precision, recall, f1, support in zip(
            labels, evaluation.precision, evaluation.recall, evaluation.f1, evaluation.support, strict=True
        )
    ]
    method = (
        f"A text is {_vector(metadata.vectorizer)}; the dense layers are {layers}. A first network was fitted for at"
        f" most {metadata.training['epochs']} epochs without the {data.validation_texts:,} validation texts, whose loss"
        f" was lowest after epoch {best}. A new network was then fitted from its initial weights on all training texts"
        " for as many epochs, and measured once on the test texts."
    )
    if uncalibrated:
        method += (
            " The temperature and the shift that make the first network's probabilities of the validation texts the"
            " likeliest are part of the new network's weights."
        )
    return f"""# {metadata.name}

Gives a text one of {len(labels)} labels. Trained on the data set {data.name} on {metadata.created_at:%Y-%m-%d} by

```
{command}
```

{textwrap.fill(method, 120)}

![Loss and accuracy of training and validation over the epochs, the best epoch marked]({_CURVES_FILE})

## Test metrics

{_table(("metric", "value"), test_metrics(evaluation, uncalibrated))}

The calibration error has {CALIBRATION_BINS} bins of equal width, by winning probability.

{_table(("label", "precision", "recall", "F1", "texts"), per_class)}

![Test texts by true and predicted label]({_CONFUSION_FILE})

## Data

{_table(("", "number"), _sizes(metadata))}

## Settings

{_table(("option", "value"), [(f"`--{name}`", shown(value)) for name, value in metadata.training.items()])}

## Costs

{_table(("part", "seconds", "peak memory so far, MB"), map(_cost, costs))}

## Versions

{_table(("package", "version"), metadata.packages.items())}
"""


def summary(epochs: int, evaluation: Evaluation, uncalibrated: Evaluation | None, costs: Sequence[Cost]) -> Table:
    """Returns what a run came to, for a terminal."""
    table = Table("", "value")
    for name, value in [
        ("best epoch", str(epochs)),
        *(("test " + name, value) for name, value in test_metrics(evaluation, uncalibrated)),
        *((part, f"{seconds} s, {memory} MB") for part, seconds, memory in map(_cost, costs)),
    ]:
        table.add_row(name, value)
    return table


def test_metrics(evaluation: Evaluation, uncalibrated: Evaluation | None) -> list[tuple[str, str]]:
    """Returns names and values of what the test set says of the whole model, and said before calibration."""
    metrics = [("accuracy", f"{evaluation.accuracy:.4f}")]
    for kind, some in (("", evaluation), (" before calibration", uncalibrated)):
        if some:
            metrics += [
                (f"log loss{kind}", f"{some.log_loss:.4f}"),
                (f"expected calibration error{kind}", f"{some.expected_calibration_error:.4f}"),
            ]
    return metrics


def _cost(cost: Cost) -> tuple[str, str, str]:
    return cost.part, f"{cost.seconds:.1f}", f"{cost.peak_memory / 1e6:,.0f}"


def _sizes(metadata: Metadata) -> list[tuple[str, str]]:
    return [
        ("training texts", f"{metadata.data_set.training_texts:,}"),
        ("of them for validation", f"{metadata.data_set.validation_texts:,}"),
        ("test texts", f"{metadata.data_set.test_texts:,}"),
        ("word indices, the reserved ones included", f"{metadata.vectorizer.num_words:,}"),
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
