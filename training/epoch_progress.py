"""Shows the progress of a fit: a line for each epoch and, on a terminal, a bar."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import keras
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


@contextmanager
def epochs_shown(console: Console, title: str, epochs: int) -> Iterator[keras.callbacks.Callback]:
    """Yields a Keras callback that shows a fit of this number of epochs."""
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    console.print(title)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield _Epochs(progress, epochs)


class _Epochs(keras.callbacks.Callback):
    def __init__(self, progress: Progress, epochs: int) -> None:
        super().__init__()
        self._progress = progress
        self._epochs = epochs
        self._task = progress.add_task("", total=epochs)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        logs = logs or {}
        line = f"  epoch {epoch + 1:{len(str(self._epochs))}}/{self._epochs}  {_metrics(logs, '')}"
        if "val_loss" in logs:
            line += f"  validation {_metrics(logs, 'val_')}"
        self._progress.console.print(line, highlight=False, soft_wrap=True)
        self._progress.advance(self._task)


def _metrics(logs: Mapping[str, float], prefix: str) -> str:
    return f"loss {logs[f'{prefix}loss']:.4f} accuracy {logs[f'{prefix}accuracy']:.4f}"
