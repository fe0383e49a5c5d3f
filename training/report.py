"""The report of a run: training curves or trials, confusion matrix, model card, and tables for a terminal."""

import textwrap
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from textmodel.metadata import DataSet as DataSetMetadata
from textmodel.metadata import HashedNGrams, Metadata, MultiHot, NGrams, PaddedSequence
from textmodel.version_folder import VersionFolder
from training.classifiers.dense import History, best_epoch
from training.classifiers.features import describe
from training.classifiers.selection import Selection, Trial
from training.data.file_dataset import Quality
from training.evaluation import markdown
from training.evaluation.abstention import selective_metrics
from training.evaluation.figures import confusion_matrix, png, precision_coverage_curve
from training.evaluation.fonts import legend
from training.evaluation.metrics import CALIBRATION_BINS, Answers, Evaluation
from training.resource_usage import Cost
from training.settings import shown

_CURVES_FILE = "curves.png"
_CONFUSION_FILE = "confusion.png"
_ABSTENTION_FILE = "precision_coverage.png"
_CARD_FILE = "model_card.md"


Search = History | Selection
"""What a preset tries on held-out texts before the model is fitted."""


@dataclass(frozen=True)
class Classes:
    """The training texts of each class."""

    labels: Sequence[str]
    training_texts: NDArray[np.int64]
    """(classes,)"""
    weights: NDArray[np.float64]
    """(classes,), the weight of a text in the loss."""

    def table(self, evaluation: Evaluation) -> list[list[str]]:
        """Returns the rows of a table of the classes, the header first."""
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
    search: Search,
    evaluation: Evaluation,
    command: str,
    *,
    quality: Quality | None,
    uncalibrated: Evaluation | None,
    costs: Sequence[Cost],
    answers: Answers,
) -> None:
    """Writes the report of a run into the version folder.

    Args:
        search: on texts that were held out.
        evaluation: on the test set.
        command: the command line that makes such a model.
        quality: what was found in the user's own files.
        uncalibrated: the evaluation before calibration, for a preset that is calibrated.
        costs: of the parts of the run.
        answers: to the test set.
    """
    folder.report.mkdir()
    if folder.metadata.abstention:
        curve = precision_coverage_curve(answers, folder.metadata.abstention)
        (folder.report / _ABSTENTION_FILE).write_bytes(png(curve))
    (folder.report / _CURVES_FILE).write_bytes(
        png(trial_curves(search) if isinstance(search, Selection) else curves(search))
    )
    (folder.report / _CONFUSION_FILE).write_bytes(png(confusion_matrix(evaluation, classes.labels)))
    card = model_card(
        folder.metadata,
        classes,
        search,
        evaluation,
        command,
        quality=quality,
        uncalibrated=uncalibrated,
        costs=costs,
        answers=answers,
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


def trial_curves(selection: Selection) -> Figure:
    """Draws the accuracy of each choice of features by its cost, on a sample dashed, with the chosen one marked."""
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplots()
    points: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    for trial in selection.trials:
        points[describe(trial.settings), trial.texts].append((trial.settings.required_cost, trial.accuracy))
    names = list(dict.fromkeys(name for name, _ in points))
    for (name, texts), curve in points.items():
        color, line = f"C{names.index(name)}", "-" if texts == selection.best.texts else "--"
        costs, accuracies = zip(*sorted(curve), strict=True)
        axes.plot(costs, accuracies, line, marker=".", color=color, label=f"{name}, {texts:,} texts")
    cost, accuracy = selection.best.settings.required_cost, selection.best.accuracy
    axes.plot(cost, accuracy, "*", markersize=14, color="tab:red", label=f"chosen: {accuracy:.3f}")
    axes.set(title="Accuracy on texts that were held out", xlabel="cost", xscale="log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def _vector(vectorizer: MultiHot | PaddedSequence | NGrams | HashedNGrams) -> str:
    """Describes the input of the dense layers."""
    match vectorizer:
        case MultiHot():
            return f"a multi-hot vector over {vectorizer.num_words:,} word indices"
        case PaddedSequence():
            return (
                f"its first {vectorizer.length:,} words, each a vector of {vectorizer.dimensions} components, of which"
                " the largest are kept"
            )
        case HashedNGrams():
            return (
                f"a sparse vector of {vectorizer.kept:,} features, n-grams hashed into {vectorizer.buckets:,} buckets"
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
    search: Search,
    evaluation: Evaluation,
    command: str,
    *,
    quality: Quality | None,
    uncalibrated: Evaluation | None,
    costs: Sequence[Cost],
    answers: Answers,
) -> str:
    """Returns the model card, Markdown with relative links to the images."""
    data = metadata.data_set
    layers = ", ".join(f"{layer.units} {layer.activation}" for layer in metadata.network)
    head, *rows = classes.table(evaluation)
    per_class = [(markdown.escaped(label), *values) for label, *values in rows]
    introduction = (
        f"This model gives a text one of {len(classes.labels)} labels. This command trained it on"
        f" {metadata.created_at:%Y-%m-%d}, on the data set {data.name}:"
    )
    method = f"A text is {_vector(metadata.vectorizer)}; the dense layers are {layers}. {_method(search, data)}"
    return f"""# {metadata.name}

{textwrap.fill(introduction, 120)}

```
{command}
```

{textwrap.fill(method, 120)}

![{_CURVES[type(search) is Selection]}]({_CURVES_FILE})

## Test metrics

{markdown.table(("metric", "value"), test_metrics(evaluation, uncalibrated))}

The calibration error has {CALIBRATION_BINS} bins of equal width, by winning probability.

{markdown.table(head, per_class)}

![Test texts by true and predicted label]({_CONFUSION_FILE})

{markdown.escaped(legend(classes.labels))}
{_abstention(metadata, classes.labels, answers)}
## Data

{markdown.table(("", "number"), [*_sizes(metadata), *(quality.described() if quality else ())])}

## Settings

{markdown.table(("option", "value"), [(f"`--{name}`", shown(value)) for name, value in metadata.training.items()])}

## Costs

{markdown.table(("part", "seconds", "peak memory so far, MB"), map(_cost, costs))}

## Versions

{markdown.table(("package", "version"), metadata.packages.items())}
"""


def _abstention(metadata: Metadata, labels: Sequence[str], answers: Answers) -> str:
    """Returns the section on the thresholds of a version that has some."""
    if not metadata.abstention:
        return ""
    target, thresholds = metadata.abstention.target_precision, metadata.abstention.thresholds
    rows = [
        (markdown.escaped(label), f"{threshold:.4f}" if threshold <= 1 else "none reaches it")
        for label, threshold in zip(labels, thresholds, strict=True)
    ]
    return f"""
## Abstention

From these probabilities on a label was right with a precision of {target:g} on validation texts. On the test texts:
{selective_metrics(answers, thresholds)}.

{markdown.table(("label", "threshold"), rows)}

![Precision over coverage, as the threshold falls]({_ABSTENTION_FILE})
"""


_CURVES = {
    False: "Loss and accuracy of training and validation over the epochs, the best epoch marked",
    True: "Accuracy on held-out texts by the cost, the chosen one marked",
}
"""What the figure shows, by whether it is of a selection."""


def _method(search: Search, data: DataSetMetadata) -> str:
    """Returns how the settings were found that the validation texts decide, and the model fitted."""
    if not isinstance(search, Selection):
        return (
            f"A first network was fitted for {len(search['loss'])} epochs without the {data.validation_texts:,}"
            f" validation texts, whose loss was lowest after epoch {best_epoch(search)}. A new network was then fitted"
            " from its initial weights on all training texts for as many epochs, and measured once on the test texts."
        )
    how = (
        f"{search.folds}-fold cross-validation of the training texts"
        if search.folds > 1
        else f"{search.held_out:,} validation texts"
    )
    chosen = (
        f"were chosen by accuracy on {how}"
        if len(search.trials) > 1
        else f"were given; their accuracy is that on {how}"
    )
    return (
        f"The features ({describe(search.best.settings)}) and the cost of errors"
        f" ({search.best.settings.required_cost:g}) {chosen}. The model was then fitted on all training texts, and"
        " measured once on the test texts. Its probabilities are calibrated by a temperature and a shift, which were"
        " fitted on the held-out texts."
    )


def findings(quality: Quality) -> Table:
    """Returns a table of the findings about the user's files, for a terminal."""
    table = Table("", "number")
    for row in quality.described():
        table.add_row(*row)
    return table


def per_class(classes: Classes, evaluation: Evaluation) -> Table:
    """Returns a table of the test metrics of each class, for a terminal."""
    head, *rows = classes.table(evaluation)
    table = Table(*head)
    for row in rows:
        table.add_row(*map(Text, row))  # as it is: a label may look like markup
    return table


def trials(selection: Selection) -> Table:
    """Returns the best trial of each choice of features, for a terminal."""
    table = Table("features", "cost", "texts", "accuracy", "seconds", "")
    by_choice: dict[tuple[str, int], list[Trial]] = defaultdict(list)
    for trial in selection.trials:
        by_choice[describe(trial.settings), trial.texts].append(trial)
    for (name, texts), some in by_choice.items():
        best = max(some, key=lambda trial: trial.accuracy)
        chosen = "chosen" if selection.best in some else ""
        seconds = sum(trial.seconds for trial in some)
        cost = f"{best.settings.required_cost:g}"
        table.add_row(name, cost, f"{texts:,}", f"{best.accuracy:.4f}", f"{seconds:.1f}", chosen)
    return table


def _found(search: Search) -> list[tuple[str, str]]:
    if not isinstance(search, Selection):
        return [("best epoch", str(best_epoch(search)))]
    best = search.best
    sample = f", estimated by {search.sample:,} labels" if search.sample else ""
    return [
        ("features", describe(best.settings)),
        ("cost", f"{best.settings.required_cost:g}"),
        (f"accuracy on held-out texts{sample}", f"{best.accuracy:.4f}"),
    ]


def summary(search: Search, evaluation: Evaluation, uncalibrated: Evaluation | None, costs: Sequence[Cost]) -> Table:
    """Returns a table of the results of a run, for a terminal."""
    table = Table("", "value")
    for name, value in [
        *_found(search),
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
    hashed = isinstance(metadata.vectorizer, HashedNGrams)
    return [
        ("training texts", f"{metadata.data_set.training_texts:,}"),
        ("training texts held out for validation", f"{metadata.data_set.validation_texts:,}"),
        ("test texts", f"{metadata.data_set.test_texts:,}"),
        ("features" if hashed else "word indices, including the reserved ones", f"{metadata.vectorizer.num_words:,}"),
    ]
