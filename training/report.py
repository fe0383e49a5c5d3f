"""The report of a run in the version folder: model card, curves of the epochs or trials, and confusion matrix."""

import textwrap
from collections.abc import Mapping, Sequence

from textmodel.metadata import DataSet as DataSetMetadata
from textmodel.metadata import HashedNGrams, Metadata, MultiHot, NGrams, PaddedSequence
from training.classifiers.features import describe
from training.classifiers.history import best_epoch
from training.classifiers.selection import Selection
from training.curves import curves, trial_curves
from training.evaluation import markdown
from training.evaluation.abstention import selective_metrics
from training.evaluation.figures import confusion_matrix, drawn, precision_coverage_curve
from training.evaluation.fonts import legend
from training.evaluation.metrics import CALIBRATION_BINS, Answers
from training.run import Run, Search
from training.settings import shown

_CURVES_FILE = "curves.png"
_CONFUSION_FILE = "confusion.png"
_ABSTENTION_FILE = "precision_coverage.png"
_CARD_FILE = "model_card.md"


def write(run: Run) -> list[str]:
    """Writes the report of a run into its version folder. Returns a sentence for each figure that it lacks."""
    report, abstention = run.folder.report, run.folder.metadata.abstention
    report.mkdir()
    search = run.search
    figures = {
        _CURVES_FILE: lambda: trial_curves(search) if isinstance(search, Selection) else curves(search),
        _CONFUSION_FILE: lambda: confusion_matrix(run.evaluation, run.classes.labels),
    }
    if abstention:
        figures[_ABSTENTION_FILE] = lambda: precision_coverage_curve(run.evaluation.answers, abstention)
    found = drawn(figures)
    for name, image in found.images.items():
        (report / name).write_bytes(image)
    (report / _CARD_FILE).write_text(model_card(run, found.missing), encoding="utf-8")
    return found.notes()


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


def model_card(run: Run, missing: Mapping[str, str]) -> str:
    """Returns the model card: Markdown, with relative links to the images that are not missing."""
    metadata = run.folder.metadata
    return f"""# {metadata.name}

{_introduction(run, missing)}

## Test metrics

{_metrics(run, missing)}
{_abstention(metadata, run.classes.labels, run.evaluation.answers, missing)}
## Data

{markdown.table(("", "number"), [*_sizes(metadata, run.search), *(run.quality.described() if run.quality else ())])}

## Settings

{markdown.table(("option", "value"), [(f"`--{name}`", shown(value)) for name, value in metadata.training.items()])}

## Costs

{markdown.table(("part", "seconds", "peak memory so far, MB"), run.cost_table())}

## Versions

{markdown.table(("package", "version"), metadata.packages.items())}
"""


def _introduction(run: Run, missing: Mapping[str, str]) -> str:
    """Returns the section on what the model is and how it was made."""
    metadata = run.folder.metadata
    introduction = (
        f"This model gives a text one of {len(run.classes.labels)} labels. This command trained it on"
        f" {metadata.created_at:%Y-%m-%d}, on the data set {metadata.data_set.name}:"
    )
    layers = ", ".join(f"{layer.units} {layer.activation}" for layer in metadata.network)
    method = (
        f"A text is {_vector(metadata.vectorizer)}; the dense layers are {layers}."
        f" {_method(run.search, metadata.data_set)}"
    )
    return f"""{textwrap.fill(introduction, 120)}

```
{run.command}
```

{textwrap.fill(method, 120)}

{markdown.image(_CURVES[type(run.search) is Selection], _CURVES_FILE, missing)}"""


def _metrics(run: Run, missing: Mapping[str, str]) -> str:
    """Returns the section on the test metrics: of all labels together, and of each."""
    head, *rows = run.classes.table(run.evaluation)
    per_class = [(markdown.escaped(label), *values) for label, *values in rows]
    return f"""{markdown.table(("metric", "value"), run.test_metrics())}

The calibration error has {CALIBRATION_BINS} bins of equal width, by winning probability.

{markdown.table(head, per_class)}

{markdown.image("Test texts by true and predicted label", _CONFUSION_FILE, missing)}

{"" if _CONFUSION_FILE in missing else markdown.escaped(legend(run.classes.labels))}"""


def _abstention(metadata: Metadata, labels: Sequence[str], answers: Answers, missing: Mapping[str, str]) -> str:
    """Returns the section on the version's thresholds; empty if it has none."""
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

{markdown.image("Precision over coverage, as the threshold falls", _ABSTENTION_FILE, missing)}
"""


_CURVES = {
    False: "Loss and accuracy of training and validation over the epochs, the best epoch marked",
    True: "Accuracy on held-out texts by the cost, the chosen one marked",
}
"""The description of the figure: True if the run selected features and cost, False if it searched the best epoch."""


def _method(search: Search, data: DataSetMetadata) -> str:
    """Returns how the held-out texts decided the settings, and how the model was fitted."""
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
        f"were chosen by {search.metric} on {how}"
        if len(search.trials) > 1
        else f"were given; their {search.metric} is that on {how}"
    )
    return (
        f"The features ({describe(search.best.settings)}) and the cost of errors"
        f" ({search.best.settings.required_cost:g}) {chosen}. The model was then fitted on all training texts, and"
        " measured once on the test texts. Its probabilities are calibrated by a temperature and a shift, which were"
        " fitted on the held-out texts."
    )


def _sizes(metadata: Metadata, search: Search) -> list[tuple[str, str]]:
    hashed = isinstance(metadata.vectorizer, HashedNGrams)
    folds = search.folds if isinstance(search, Selection) else 1
    held_out = (
        f"training texts that {folds}-fold cross-validation held out, each once"
        if folds > 1
        else "training texts held out for validation"
    )
    return [
        ("training texts", f"{metadata.data_set.training_texts:,}"),
        (held_out, f"{metadata.data_set.validation_texts:,}"),
        ("test texts", f"{metadata.data_set.test_texts:,}"),
        ("features" if hashed else "word indices, including the reserved ones", f"{metadata.vectorizer.num_words:,}"),
    ]
