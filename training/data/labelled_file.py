"""Reads files of labelled texts as a stream, a row at a time."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
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
from textfiles.columns import LABEL_OPTION, TEXT_OPTION, spelling_hint
from textfiles.decoding import invalid_text
from training.data.bad_rows import BadRows
from training.data.labels import label_of
from training.data.soft_labels import NO_SOFT_COLUMNS, WEIGHT_OPTION, SoftColumns, is_empty, soft_label, weight

_ROWS = 1000
"""Number of rows between two calls of `progress`, and of Parquet rows in memory at a time."""


class LabelledText(NamedTuple):
    """A text with its label, its soft label, or both."""

    text: str
    """The text; empty if the row has none."""
    label: str
    """The label, on one line, without white space around it; empty if the row has only a soft label."""
    number: int
    """The number of the line on which the row starts, or of the row in Parquet, from 1."""
    looks_merged: bool = False
    """See `textfiles.Row`."""
    soft_label: Mapping[str, float] | None = None
    """The probability of each label, with the sum 1 and without negligible ones; None if the row has no soft label."""
    weight: float = 1.0
    """The weight of the row, at least 0: it counts as so many rows."""


Fields = Row[Mapping[str, Any]] | Unreadable
"""The values of a row by column, as the file has them, or why the row cannot be read."""


class LabelledFile(TextFile):
    """A file of labelled texts.

    Args:
        path: the file.
        text_column: the column, or key in JSON Lines, of the texts.
        label_column: the column, or key in JSON Lines, of the labels.
        options: how the file is read.
        soft: the columns of soft labels and weights. A row with a soft label needs no label.

    Raises:
        InputError: the format is unknown or has no labels, or one column is named for two purposes.
    """

    def __init__(
        self,
        path: Path,
        text_column: str = "text",
        label_column: str = "label",
        options: ReadOptions = DEFAULT_OPTIONS,
        soft: SoftColumns = NO_SOFT_COLUMNS,
    ) -> None:
        super().__init__(path, options)
        if self.format is Format.TEXT:
            raise InputError(f"{self}: plain text has no labels: {TABLES} are read")
        names = [text_column, label_column, *soft.names()]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{self}: the column {name!r} is named for two things: each needs a column of its own")
        self.text_column, self.label_column, self.soft = text_column, label_column, soft
        self._options = {text_column: TEXT_OPTION, label_column: LABEL_OPTION, soft.weight: WEIGHT_OPTION}

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return str(self) if self.path == STANDARD_INPUT else self.path.name

    def rows(self, progress: Callable[[int], object] = lambda _: None) -> Iterator[LabelledText | Unreadable]:
        """Reads the rows, in order.

        Args:
            progress: called now and then with the number of bytes read so far.

        Raises:
            InputError: the file cannot be read, or has no such column.
        """
        with self.open() as file:
            for count, row in enumerate(self._fields(file)):
                if count % _ROWS == 0:
                    progress(file.tell())
                yield row if isinstance(row, Unreadable) else self._labelled(row)

    def _labelled(self, row: Row[Mapping[str, Any]]) -> LabelledText | Unreadable:
        fields = row.value
        text = fields[self.text_column]
        if text is not None and not isinstance(text, str):
            return Unreadable(
                row.number, f"{self.text_column!r} holds a value of type {type(text).__name__}, no string"
            )
        try:
            soft = soft_label(self.soft.probabilities, fields) if self.soft.probabilities else None
            label = self._label(fields.get(self.label_column), is_soft=soft is not None)
            weighs = 1.0 if self.soft.weight is None else weight(self.soft.weight, fields[self.soft.weight])
        except ValueError as error:
            return Unreadable(row.number, str(error))
        return LabelledText(text or "", label, row.number, row.looks_merged, soft, weighs)

    def _label(self, value: object, *, is_soft: bool) -> str:
        if not self.soft.probabilities:
            return label_of(value)
        if is_empty(value) or value != value:  # noqa: PLR0124, NaN: so Pandas writes a missing value
            if not is_soft:
                raise ValueError("has neither a label nor probabilities")
            return ""
        label = label_of(value)
        if label not in self.soft.probabilities:
            raise ValueError(
                f"the label {listed([label])} is none of those of --probability-columns,"
                f" {listed(self.soft.probabilities)}"
            )
        return label

    def _columns(self, there: Collection[str]) -> list[str]:
        """Returns the columns to read from a file or an object that has the columns `there`. It may lack the label or
        the probabilities, but not both.

        Raises:
            ValueError: both are missing. The message names them.
        """
        label, probabilities = [self.label_column], list(self.soft.probabilities.values())
        found = [names for names in (label, probabilities) if any(name in there for name in names)]
        if probabilities and not found:
            raise ValueError(f"neither {self.label_column!r} nor {listed(probabilities)}")
        weights = [] if self.soft.weight is None else [self.soft.weight]
        return [self.text_column, *chain(*(found or [label])), *weights]

    def _columns_of_file(self, there: Sequence[str]) -> list[str]:
        try:
            return self._columns(there)
        except ValueError as error:
            raise InputError(f"{self}: has {error}: its columns are {listed(there, 20)}") from error

    def _positions(self, columns: Sequence[str]) -> dict[str, int]:
        """Returns the position of each column to read, among those of the file.

        Raises:
            InputError: one is missing, or several have its name.
        """
        return {name: self.column(name, columns, self._options.get(name)) for name in self._columns_of_file(columns)}

    def _fields(self, file: IO[bytes]) -> Iterator[Fields]:
        if self.format is Format.PARQUET:
            return self._parquet_fields(file)
        return self._json_fields(file) if self.format is Format.JSON_LINES else self._separated_fields(file)

    def _separated_fields(self, file: IO[bytes]) -> Iterator[Fields]:
        columns, rows = self.separated(file)
        positions = self._positions(columns)
        for row in rows:
            if isinstance(row, Unreadable):
                yield row
            else:
                fields = {name: row.value[at] for name, at in positions.items()}
                yield Row(row.number, fields, row.looks_merged)

    def _json_fields(self, file: IO[bytes]) -> Iterator[Fields]:
        for row in self.objects(file):
            yield row if isinstance(row, Unreadable) else self._decoded(row)

    def _decoded(self, row: Row[dict[str, msgspec.Raw]]) -> Fields:
        try:
            names = self._columns(row.value)
        except ValueError as error:
            return Unreadable(row.number, f"has {error}: its keys are {listed(row.value, 20)}")
        if missing := [name for name in names if name not in row.value]:
            hint = spelling_hint(missing[0], row.value, self._options.get(missing[0]))
            return Unreadable(row.number, f"no key {missing[0]!r}: its keys are {listed(row.value, 20)}{hint}")
        fields = {}
        for name in names:
            try:
                fields[name] = msgspec.json.decode(row.value[name])
            except msgspec.DecodeError as error:
                return Unreadable(row.number, f"{name!r}: {error}")
        return Row(row.number, fields)

    def _parquet_fields(self, file: IO[bytes]) -> Iterator[Fields]:
        number = 0
        schema, _ = self.record_batches(file, _ROWS)
        names = list(self._positions(schema.names))
        _, batches = self.record_batches(file, _ROWS, names)
        for batch in batches:
            for values in zip(*(batch[name] for name in names), strict=True):
                number += 1
                try:
                    yield Row(number, dict(zip(names, (value.as_py() for value in values), strict=True)))
                except UnicodeDecodeError as error:
                    yield Unreadable(number, invalid_text(error))


@dataclass(frozen=True)
class LabelledFiles:
    """One or more files that are read as one. All have the same columns and options."""

    files: Sequence[LabelledFile]

    def __str__(self) -> str:
        return self._shown(str(self.files[0]))

    @property
    def name(self) -> str:
        """The first file's name without its folder, and the number of other files."""
        return self._shown(self.files[0].name)

    @property
    def soft(self) -> SoftColumns:
        """The columns of soft labels and weights."""
        return self.files[0].soft

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
            progress: called now and then with the number of bytes read so far.

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
        data: the texts to train on.
        test: the texts to test on, or the share of `data` that is held out for the test.
        bad_rows: the file that lists the rows that cannot be used. None: such rows are an error.
    """

    data: LabelledFiles
    test: LabelledFiles | float
    bad_rows: Path | None = None

    def arguments(self) -> list[str]:
        """Returns the command-line arguments that name these files, without their folders."""
        first = self.data.files[0]
        columns = [TEXT_OPTION, first.text_column, LABEL_OPTION, first.label_column, *first.soft.arguments()]
        test = (
            ["--test-data", *self.test.arguments()]
            if isinstance(self.test, LabelledFiles)
            else ["--test-split", str(self.test)]
        )
        bad_rows = ["--bad-rows", self.bad_rows.name] if self.bad_rows else []
        return ["--data", *self.data.arguments(), *columns, *first.options.arguments(), *test, *bad_rows]
