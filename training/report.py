"""What a person reads of a run: training curves, confusion matrix, model card."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from textmodel.metadata import Metadata, MultiHot, NGrams, PaddedSequence
from textmodel.version_folder import VersionFolder
from training.classifiers.dense import History, best_epoch
from training.data.file_dataset import Quality
from training.evaluation import markdown
from training.evaluation.figures import confusion_matrix, png
from training.evaluation.metrics import CALIBRATION_BINS, Evaluation
from training.resource_usage import Cost
from training.settings import shown

_CURVES_FILE = "curves.png"
_CONFUSION_FILE = "confusion.png"
_CARD_FILE = "model_card.md"


@dataclass(frozen=True)
class Classes:
    """What the classes had to learn from."""

    labels: Sequence[str]
    training_texts: NDArray[np.int64]
    """(classes,)"""
    weights: NDArray[np.float64]
    """(classes,), how much one of the texts counted in the loss."""

    def table(self, evaluation: Evaluation) -> list[list[str]]:
        """Returns what a person reads of each class, the names of the columns first."""
        columns = zip(
            self.labels,
            self.training_texts,
            self.weights,
            evaluation.support,
            evaluation.precision,
            evaluation.recall,
            evaluation.f1,
            strict=True,
        )
        head = ["label", "training texts", "weight", "test texts", "precision", "recall", "F1"]
        return [
            head,
            *(
                [label, f"{texts:,}", f"{weight:.3g}", f"{support:,}", *(f"{share:.3f}" for share in shares)]
                for label, texts, weight, support, *shares in columns
            ),
        ]


def write(
    folder: VersionFolder,
    classes: Classes,
    history: History,
    evaluation: Evaluation,
    command: str,
    *,
    quality: Quality | None,
    uncalibrated: Evaluation | None,
    costs: Sequence[Cost],
) -> None:
    """Writes the report of a run into the version folder.

    Args:
        history: of the fit with validation.
        evaluation: on the test set.
        command: the command line that makes such a model.
        quality: what was found in the user's own files.
        uncalibrated: the evaluation before calibration, for a preset that is calibrated.
        costs: of the parts of the run.
    """
    folder.report.mkdir()
    (folder.report / _CURVES_FILE).write_bytes(png(curves(history)))
    (folder.report / _CONFUSION_FILE).write_bytes(png(confusion_matrix(evaluation, classes.labels)))
    card = model_card(
        folder.metadata,
        classes,
        best_epoch(history),
        evaluation,
        command,
        quality=quality,
        uncalibrated=uncalibrated,
        costs=costs,
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
    classes: Classes,
    best: int,
    evaluation: Evaluation,
    command: str,
    *,
    quality: Quality | None,
    uncalibrated: Evaluation | None,
    costs: Sequence[Cost],
) -> str:
    """Returns the model card, Markdown with relative links to the images."""
    data = metadata.data_set
    layers = ", ".join(f"{layer.units} {layer.activation}" for layer in metadata.network)
    head, *rows = classes.table(evaluation)
    per_class = [(markdown.escaped(label), *values) for label, *values in rows]
    introduction = (
        f"Gives a text one of {len(classes.labels)} labels. Trained on the data set {data.name} on"
        f" {metadata.created_at:%Y-%m-%d} by"
    )
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

{textwrap.fill(introduction, 120)}

```
{command}
```

{textwrap.fill(method, 120)}

![Loss and accuracy of training and validation over the epochs, the best epoch marked]({_CURVES_FILE})

## Test metrics

{markdown.table(("metric", "value"), test_metrics(evaluation, uncalibrated))}

The calibration error has {CALIBRATION_BINS} bins of equal width, by winning probability.

{markdown.table(head, per_class)}

![Test texts by true and predicted label]({_CONFUSION_FILE})

## Data

{markdown.table(("", "number"), [*_sizes(metadata), *(quality.described() if quality else ())])}

## Settings

{markdown.table(("option", "value"), [(f"`--{name}`", shown(value)) for name, value in metadata.training.items()])}

## Costs

{markdown.table(("part", "seconds", "peak memory so far, MB"), map(_cost, costs))}

## Versions

{markdown.table(("package", "version"), metadata.packages.items())}
"""


def findings(quality: Quality) -> Table:
    """Returns what was found in the user's own files, for a terminal."""
    table = Table("", "number")
    for row in quality.described():
        table.add_row(*row)
    return table


def per_class(classes: Classes, evaluation: Evaluation) -> Table:
    """Returns what a run came to for each class, for a terminal."""
    head, *rows = classes.table(evaluation)
    table = Table(*head)
    for row in rows:
        table.add_row(*map(Text, row))  # as it is: a label may look like markup
    return table


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
    """Returns names and values of the metrics of the whole model on the test set, and those before calibration."""
    metrics = [("accuracy", f"{evaluation.accuracy:.4f}"), ("macro-F1", f"{evaluation.macro_f1:.4f}")]
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
