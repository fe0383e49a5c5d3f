"""Collects the rows of files that cannot be used, so that one run names all of them."""

from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from textfiles import InputError, TextFile, Unreadable
from training.whole_file import written_whole

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_SHOWN = 20


class BadRows(AbstractContextManager["BadRows"]):
    """Collects the bad rows of the files that are read inside the block. At its end it lists them in a file or raises.

    Args:
        path: the file that lists the bad rows, as JSON Lines of file, line and reason. It is written as a whole or not
            at all. None: bad rows are an error.

    Raises:
        InputError: at the end of the block, there are bad rows but no file to list them in; or that file cannot be
            written, which is mostly known at the beginning.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.count = self._misencoded = 0
        self._encoding = "UTF-8"
        self._shown: list[str] = []
        self._file = ExitStack()
        self._write: Callable[[bytes], None] = _nowhere

    def add(self, file: TextFile, row: Unreadable) -> None:
        """Adds a bad row of a file."""
        self.count += 1
        self._misencoded += row.has_wrong_encoding
        self._encoding = file.options.encoding or "UTF-8"
        if self.path is None and len(self._shown) < _MAX_SHOWN:
            self._shown.append(f"{file.where(row.number)}: {row.reason}")
        self._write(file.reason(row))

    def __enter__(self) -> "BadRows":
        if self.path is not None:
            self._write = self._file.enter_context(written_whole(self.path))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.__exit__(kind, error, traceback)
        if kind is None and self.count and self.path is None:
            raise self._error()

    def _error(self) -> InputError:
        if self.count == 1:
            return InputError(f"{self._shown[0]}; --bad-rows FILE leaves out such rows")
        more = self.count - len(self._shown)
        encoding = (
            f"; most are not {self._encoding}: name their encoding with --encoding, as cp1252, cp1251, euc-kr or"
            " shift_jis"
            if 2 * self._misencoded > self.count
            else ""
        )
        return InputError(
            f"{self.count:,} rows cannot be used: correct them, or leave them out with --bad-rows FILE{encoding}",
            [*self._shown, *([f"and {more:,} more"] if more else [])],
        )


def _nowhere(_: bytes) -> None:
    """Writes nothing."""
