"""Reads files of labelled texts as a stream: a row at a time, whatever the size of the files."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from textfiles import (
    DEFAULT_OPTIONS,
    STANDARD_INPUT,
    TABLES,
    Format,
    InputError,
    ReadOptions,
    Row,
    TextFile,
    Unreadable,
    listed,
)
from textfiles.decoding import invalid_text
from training.data.bad_rows import BadRows
from training.data.labels import label_of

_ROWS = 1000
"""Rows between two calls of `progress`, and rows of Parquet in memory at a time."""


class LabelledText(NamedTuple):
    """A text and its label."""

    text: str
    """Empty where the file has no text."""
    label: str
    """Not empty, on one line, without white space around it."""
    number: int
    """From 1: of the line that the row starts on; in Parquet, of the row."""
    looks_merged: bool = False
    """As in `textfiles.Row`."""


Values = Row[tuple[Any, Any]] | Unreadable
"""The text and the label of a row as the file has them."""


class LabelledFile(TextFile):
    """A file of labelled texts.

    Args:
        path: the file.
        text_column: the column, or key in JSON Lines, of the texts.
        label_column: the one of the labels.
        options: how the file is read.

    Raises:
        InputError: the format is unknown or has no labels, or the two columns are one.
    """

    def __init__(
        self,
        path: Path,
        text_column: str = "text",
        label_column: str = "label",
        options: ReadOptions = DEFAULT_OPTIONS,
    ) -> None:
        super().__init__(path, options)
        if self.format is Format.TEXT:
            raise InputError(f"{self}: plain text has no labels: {TABLES} are read")
        if text_column == label_column:
            raise InputError(f"{self}: the column {text_column!r} cannot be both the text and the label")
        self.text_column, self.label_column = text_column, label_column

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return str(self) if self.path == STANDARD_INPUT else self.path.name

    def rows(self, progress: Callable[[int], object] = lambda _: None) -> Iterator[LabelledText | Unreadable]:
        """Reads the rows, in order.

        Args:
            progress: called now and then with the number of bytes of the file that are read.

        Raises:
            InputError: the file cannot be read, or has no such column.
        """
        with self.open() as file:
            for count, row in enumerate(self._values(file)):
                if count % _ROWS == 0:
                    progress(file.tell())
                yield row if isinstance(row, Unreadable) else self._labelled(row)

    def _labelled(self, row: Row[tuple[Any, Any]]) -> LabelledText | Unreadable:
        text, label = row.value
        if text is not None and not isinstance(text, str):
            return Unreadable(
                row.number, f"{self.text_column!r} holds a value of type {type(text).__name__}, no string"
            )
        try:
            return LabelledText(text or "", label_of(label), row.number, row.looks_merged)
        except ValueError as error:
            return Unreadable(row.number, str(error))

    def _values(self, file: IO[bytes]) -> Iterator[Values]:
        if self.format is Format.PARQUET:
            return self._parquet_values(file)
        return self._json_values(file) if self.format is Format.JSON_LINES else self._separated_values(file)

    def _separated_values(self, file: IO[bytes]) -> Iterator[Values]:
        columns, rows = self.separated(file)
        text, label = (self.column(name, columns) for name in (self.text_column, self.label_column))
        for row in rows:
            if isinstance(row, Unreadable):
                yield row
            else:
                yield Row(row.number, (row.value[text], row.value[label]), row.looks_merged)

    def _json_values(self, file: IO[bytes]) -> Iterator[Values]:
        names = self.text_column, self.label_column
        for row in self.objects(file):
            if isinstance(row, Unreadable):
                yield row
            elif missing := [name for name in names if name not in row.value]:
                yield Unreadable(row.number, f"no key {missing[0]!r}: its keys are {listed(row.value, 20)}")
            else:
                text, label = (msgspec.json.decode(row.value[name]) for name in names)
                yield Row(row.number, (text, label))

    def _parquet_values(self, file: IO[bytes]) -> Iterator[Values]:
        number = 0
        _, batches = self.record_batches(file, _ROWS, [self.text_column, self.label_column])
        for batch in batches:
            for text, label in zip(batch[self.text_column], batch[self.label_column], strict=True):
                number += 1
                try:
                    yield Row(number, (text.as_py(), label.as_py()))
                except UnicodeDecodeError as error:
                    yield Unreadable(number, invalid_text(error))


@dataclass(frozen=True)
class LabelledFiles:
    """One file or several, read one after another as if they were one. All have the same columns and options."""

    files: Sequence[LabelledFile]

    def __str__(self) -> str:
        return self._shown(str(self.files[0]))

    @property
    def name(self) -> str:
        """The first file's name without its folder, and how many others there are."""
        return self._shown(self.files[0].name)

    def _shown(self, first: str) -> str:
        others = len(self.files) - 1
        return first + (f" and {others} other file{'s' * (others > 1)}" if others else "")

    def size(self) -> int:
        """Returns the size of all files in bytes.

        Raises:
            InputError: one cannot be read.
        """
        return sum(file.size() for file in self.files)

    def rows(
        self, bad_rows: BadRows, progress: Callable[[int], object] = lambda _: None
    ) -> Iterator[tuple[LabelledFile, LabelledText]]:
        """Reads the rows of all files, each with its file.

        Args:
            bad_rows: gets the rows that cannot be used.
            progress: called now and then with the number of bytes that are read.

        Raises:
            InputError: a file cannot be read, or has no such column.
        """
        before = 0
        for file in self.files:
            for row in file.rows(lambda position, before=before: progress(before + position)):  # type: ignore[misc]
                if isinstance(row, Unreadable):
                    bad_rows.add(file, row)
                else:
                    yield file, row
            before += file.size()

    def arguments(self) -> list[str]:
        """Returns the names of the files without their folders, as the command takes them."""
        return [file.path.name for file in self.files]


@dataclass(frozen=True)
class TrainingFiles:
    """The files that a model is trained and tested on.

    Args:
        data: texts to train on.
        test: texts to be tested on, or the share of `data` that is held out for the test.
        bad_rows: the file that rows which cannot be used are set aside in. None: they are an error.
    """

    data: LabelledFiles
    test: LabelledFiles | float
    bad_rows: Path | None = None

    def arguments(self) -> list[str]:
        """Returns the command's arguments that give these files, without the folders that they are in."""
        first = self.data.files[0]
        columns = ["--text-column", first.text_column, "--label-column", first.label_column]
        test = (
            ["--test-data", *self.test.arguments()]
            if isinstance(self.test, LabelledFiles)
            else ["--test-split", str(self.test)]
        )
        bad_rows = ["--bad-rows", self.bad_rows.name] if self.bad_rows else []
        return ["--data", *self.data.arguments(), *columns, *first.options.arguments(), *test, *bad_rows]
