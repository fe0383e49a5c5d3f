"""Tables of a training run, for a terminal."""

from collections import defaultdict

from rich.table import Table
from rich.text import Text

from training.classifiers.features import describe
from training.classifiers.history import best_epoch
from training.classifiers.selection import Selection, Trial
from training.data.quality import Quality
from training.evaluation.shown_labels import shortened
from training.run import Run, Search


def findings(quality: Quality) -> Table:
    """Returns a table of the findings about the user's files."""
    table = Table("", "number")
    for row in quality.described():
        table.add_row(*row)
    return table


def per_class(run: Run) -> Table:
    """Returns a table of the test metrics of each class."""
    head, *rows = run.classes.table(run.evaluation)
    table = Table(*head)
    for label, (_, *values) in zip(shortened(run.classes.labels), rows, strict=True):
        table.add_row(Text(label), *values)  # as it is: a label may look like markup
    return table


def trials(selection: Selection) -> Table:
    """Returns a table of the best trial of each choice of features."""
    table = Table("features", "cost", "texts", selection.metric, "seconds", "")
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
        (f"{search.metric} on held-out texts{sample}", f"{best.accuracy:.4f}"),
    ]


def summary(run: Run) -> Table:
    """Returns a table of the results of a run."""
    table = Table("", "value")
    for name, value in [
        *_found(run.search),
        *(("test " + name, value) for name, value in run.test_metrics()),
        *((part, f"{seconds} s, {memory} MB") for part, seconds, memory in run.cost_table()),
    ]:
        table.add_row(name, value)
    return table
