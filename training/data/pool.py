"""Reads files of texts without labels, as a stream."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from textfiles import DEFAULT_OPTIONS, Format, ReadOptions, Row, TextFile, Unreadable, listed
from textfiles.columns import TEXT_OPTION, spelling_hint
from textfiles.decoding import invalid_text
from training.data.bad_rows import BadRows

_ROWS = 1000
"""Number of Parquet rows in memory at a time."""


class PoolText(NamedTuple):
    """A text and its position."""

    text: str
    file: TextFile
    number: int
    """The number of the line on which the row starts, or of the row in Parquet, from 1."""


class PoolFile(TextFile):
    """A file of texts: each line is a text, or each row or object has one.

    Args:
        path: the file.
        text_column: the column, or key in JSON Lines, of the texts.
        options: how the file is read.
    """

    def __init__(self, path: Path, text_column: str = "text", options: ReadOptions = DEFAULT_OPTIONS) -> None:
        super().__init__(path, options)
        self.text_column = text_column

    def texts(self) -> Iterator[PoolText | Unreadable]:
        """Reads the texts that are not blank, in order.

        Raises:
            InputError: the file cannot be read, or has no such column.
        """
        with self.open() as file:
            for row in self._values(file):
                if isinstance(row, Unreadable):
                    yield row
                elif not isinstance(row.value, str | None):
                    yield Unreadable(
                        row.number, f"{self.text_column!r} holds a value of type {type(row.value).__name__}, no string"
                    )
                elif row.value and not row.value.isspace():
                    yield PoolText(row.value, self, row.number)

    def _values(self, file: IO[bytes]) -> Iterator[Row[Any] | Unreadable]:
        if self.format is Format.PARQUET:
            return self._parquet_values(file)
        if self.format is Format.TEXT:
            return self._lines_without_ends(file)
        return self._json_values(file) if self.format is Format.JSON_LINES else self._separated_values(file)

    def _lines_without_ends(self, file: IO[bytes]) -> Iterator[Row[Any] | Unreadable]:
        for row in self.lines(file):
            yield row if isinstance(row, Unreadable) else Row(row.number, row.value.rstrip("\r\n"))

    def _json_values(self, file: IO[bytes]) -> Iterator[Row[Any] | Unreadable]:
        for row in self.objects(file):
            if isinstance(row, Unreadable):
                yield row
            elif self.text_column not in row.value:
                hint = spelling_hint(self.text_column, row.value, TEXT_OPTION)
                yield Unreadable(row.number, f"no key {self.text_column!r}: its keys are {listed(row.value, 20)}{hint}")
            else:
                yield self._decoded(row.number, row.value[self.text_column])

    def _decoded(self, number: int, value: msgspec.Raw) -> Row[Any] | Unreadable:
        try:
            return Row(number, msgspec.json.decode(value))
        except msgspec.DecodeError as error:
            return Unreadable(number, f"{self.text_column!r}: {error}")

    def _separated_values(self, file: IO[bytes]) -> Iterator[Row[Any] | Unreadable]:
        columns, rows = self.separated(file)
        text = self.column(self.text_column, columns)
        for row in rows:
            yield row if isinstance(row, Unreadable) else Row(row.number, row.value[text])

    def _parquet_values(self, file: IO[bytes]) -> Iterator[Row[Any] | Unreadable]:
        number = 0
        schema, _ = self.record_batches(file, _ROWS)
        self.column(self.text_column, schema.names)
        _, batches = self.record_batches(file, _ROWS, [self.text_column])
        for batch in batches:
            for value in batch[self.text_column]:
                number += 1
                try:
                    yield Row(number, value.as_py())
                except UnicodeDecodeError as error:
                    yield Unreadable(number, invalid_text(error))


def pool_texts(files: Iterable[PoolFile], bad_rows: BadRows) -> Iterator[PoolText]:
    """Reads the texts of files, one file after another.

    Args:
        files: the files to read.
        bad_rows: gets the rows that cannot be used.

    Raises:
        InputError: a file cannot be read, or has no such column.
    """
    for file in files:
        for text in file.texts():
            if isinstance(text, Unreadable):
                bad_rows.add(file, text)
            else:
                yield text
