"""Shows the progress of reading: on a terminal as a bar, otherwise as a line for each tenth."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn


@contextmanager
def bytes_shown(console: Console, title: str, size: int) -> Iterator[Callable[[int], None]]:
    """Prints the title, and yields a function that shows how many of `size` bytes have been read."""
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console.print(title, markup=False, highlight=False, soft_wrap=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=size)
        tenths = 0

        def show(done: int) -> None:
            nonlocal tenths
            if size and not console.is_terminal and done * 10 >= (tenths + 1) * size:
                tenths = done * 10 // size
                console.print(f"  read {decimal(done)} of {decimal(size)}", highlight=False, soft_wrap=True)
            progress.update(task, completed=done)

        yield show
