"""Reads files of texts without labels, as a stream."""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from textfiles import DEFAULT_OPTIONS, Format, InputError, ReadOptions, TextFile, Unreadable, listed
from textfiles.decoding import invalid_text

_ROWS = 1000
"""Rows of Parquet in memory at a time."""


class PoolText(NamedTuple):
    """A text, and where it is."""

    text: str
    number: int
    """From 1: of the line that the row starts on; in Parquet, of the row."""


class PoolFile(TextFile):
    """A file of texts: a line is a text, or a row or object has one.

    Args:
        path: the file.
        text_column: the column, or key in JSON Lines, of the texts.
        options: how the file is read.
    """

    def __init__(self, path: Path, text_column: str = "text", options: ReadOptions = DEFAULT_OPTIONS) -> None:
        super().__init__(path, options)
        self.text_column = text_column

    def texts(self) -> Iterator[PoolText]:
        """Reads the texts that are not blank, in order.

        Raises:
            InputError: the file or a row cannot be read, or there is no such column.
        """
        with self.open() as file:
            for number, value in self._values(file):
                if not isinstance(value, str | None):
                    raise InputError(f"{self.where(number)}: {self.text_column!r} holds no string")
                if value and not value.isspace():
                    yield PoolText(value, number)

    def _values(self, file: IO[bytes]) -> Iterator[tuple[int, Any]]:
        if self.format is Format.PARQUET:
            yield from self._parquet_values(file)
            return
        if self.format is Format.TEXT:
            for line in self.lines(file):
                yield line.number, self._value(line).rstrip("\r\n")
        elif self.format is Format.JSON_LINES:
            for each in self.objects(file):
                fields = self._value(each)
                if self.text_column not in fields:
                    raise InputError(
                        f"{self.where(each.number)}: no key {self.text_column!r}: its keys are {listed(fields, 20)}"
                    )
                yield each.number, msgspec.json.decode(fields[self.text_column])
        else:
            columns, rows = self.separated(file)
            text = self.column(self.text_column, columns)
            for row in rows:
                yield row.number, self._value(row)[text]

    def _value(self, row: Any) -> Any:
        if isinstance(row, Unreadable):
            raise InputError(f"{self.where(row.number)}: {row.reason}")
        return row.value

    def _parquet_values(self, file: IO[bytes]) -> Iterator[tuple[int, Any]]:
        number = 0
        _, batches = self.record_batches(file, _ROWS, [self.text_column])
        for batch in batches:
            for value in batch[self.text_column]:
                number += 1
                try:
                    yield number, value.as_py()
                except UnicodeDecodeError as error:
                    raise InputError(f"{self.where(number)}: {invalid_text(error)}") from error
