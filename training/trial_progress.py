"""Shows the progress of the search for features."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from training.classifiers.features import describe
from training.classifiers.selection import Trial


@contextmanager
def trials_shown(console: Console) -> Iterator[Callable[[Trial], object]]:
    """Yields a function that shows the latest trial of a search, on a terminal only."""
    with console.status("Choosing features") as status:
        yield lambda trial: status.update(f"Choosing features: {describe(trial.settings)}: {trial.accuracy:.4f}")
