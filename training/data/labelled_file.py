"""Reads files of labelled texts, the user's own, as a stream: a row at a time, whatever the size of the file.

The ending of the name says the format: CSV and TSV with the names of the columns in the first row, JSON Lines, and
Parquet. The first three may be compressed by gzip; Parquet compresses by itself.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

import msgspec

from textfiles import TABLES, Format, InputError, TextFile, Unreadable
from textfiles.decoding import invalid_text

_ROWS = 1000
"""Rows between two calls of `progress`, and rows of Parquet in memory at a time."""


class Row(NamedTuple):
    """A text and its label."""

    text: str
    label: str
    """Not empty, on one line, without white space around it."""
    number: int
    """From 1: of the line that the row starts on; in Parquet, of the row."""


class LabelledFile(TextFile):
    """A file of labelled texts. It is opened by `rows`, as often as that is called.

    Args:
        path: the file.
        text_column: the column, or key in JSON Lines, of the texts.
        label_column: the one of the labels. A number or a truth value becomes its JSON text.

    Raises:
        InputError: the name's ending is none of those that are read, or the two columns are one.
    """

    def __init__(self, path: Path, text_column: str = "text", label_column: str = "label") -> None:
        super().__init__(path)
        if self.format is Format.TEXT:
            raise InputError(f"{path}: plain text has no labels: {TABLES} are read")
        if text_column == label_column:
            raise InputError(f"{path}: the column {text_column!r} cannot be both the text and the label")
        self.text_column, self.label_column = text_column, label_column

    def rows(self, progress: Callable[[int], object] = lambda _: None) -> Iterator[Row]:
        """Reads the rows, in order.

        Args:
            progress: called now and then with the number of bytes of the file that are read.

        Raises:
            InputError: the file cannot be read, has no such column, or a row is malformed. The text names its line.
        """
        with self.open() as file:
            for count, (number, text, label) in enumerate(self._pairs(file)):
                if count % _ROWS == 0:
                    progress(file.tell())
                yield Row(text, self._checked(label, number), number)

    def _pairs(self, file: IO[bytes]) -> Iterator[tuple[int, str, Any]]:
        if self.format is Format.PARQUET:
            return self._parquet_pairs(file)
        return self._json_pairs(file) if self.format is Format.JSON_LINES else self._separated_pairs(file)

    def _separated_pairs(self, file: IO[bytes]) -> Iterator[tuple[int, str, Any]]:
        columns, rows = self.separated(file)
        text, label = (self.column(name, columns) for name in (self.text_column, self.label_column))
        for row in rows:
            if isinstance(row, Unreadable):
                self._fail(*row)
            yield row.number, row.value[text], row.value[label]

    def _json_pairs(self, file: IO[bytes]) -> Iterator[tuple[int, str, Any]]:
        for row in self.objects(file):
            if isinstance(row, Unreadable):
                self._fail(*row)
            for name in (self.text_column, self.label_column):
                if name not in row.value:
                    self._fail(row.number, f"no key {name!r}: its keys are {', '.join(map(repr, row.value))}")
            text, label = (msgspec.json.decode(row.value[name]) for name in (self.text_column, self.label_column))
            yield row.number, self._text(text, row.number), label

    def _parquet_pairs(self, file: IO[bytes]) -> Iterator[tuple[int, str, Any]]:
        number = 0
        _, batches = self.record_batches(file, _ROWS, [self.text_column, self.label_column])
        for batch in batches:
            for text, label in zip(batch[self.text_column], batch[self.label_column], strict=True):
                number += 1
                try:
                    pair = text.as_py(), label.as_py()
                except UnicodeDecodeError as error:
                    self._fail(number, invalid_text(error))
                yield number, self._text(pair[0], number), pair[1]

    def _text(self, value: object, number: int) -> str:
        if not isinstance(value, str):
            self._fail(number, f"{self.text_column!r} holds {_kind(value)}, not a string")
        return value

    def _checked(self, label: object, number: int) -> str:
        if isinstance(label, bool):
            label = str(label).lower()
        if not isinstance(label, str | int | float) or _is_nan(label):
            self._fail(number, f"{self.label_column!r} holds {_kind(label)}, not a label")
        text = str(label).strip()
        if not text or "\n" in text or "\r" in text:
            self._fail(number, f"the label is {'on several lines' if text else 'empty'}")
        return text

    def _fail(self, number: int, reason: str) -> NoReturn:
        raise InputError(f"{self.where(number)}: {reason}")


@dataclass(frozen=True)
class OwnFiles:
    """The files that a model is trained and tested on.

    Args:
        data: texts to train on.
        test: texts to be tested on, or the share of `data` that is drawn for the test.
    """

    data: LabelledFile
    test: LabelledFile | float

    def arguments(self) -> list[str]:
        """Returns the command's arguments that give these files, without the folders that they are in."""
        columns = ["--text-column", self.data.text_column, "--label-column", self.data.label_column]
        test = (
            ["--test-data", self.test.path.name]
            if isinstance(self.test, LabelledFile)
            else ["--test-split", str(self.test)]
        )
        return ["--data", self.data.path.name, *columns, *test]


def _kind(value: object) -> str:
    return str(value) if value is None or _is_nan(value) else f"a value of type {type(value).__name__}"


def _is_nan(value: object) -> bool:
    """Tells whether this is how Pandas writes that no value is there."""
    return isinstance(value, float) and math.isnan(value)
