"""Reads files of labelled texts, the user's own, as a stream: a row at a time, whatever the size of the file.

The ending of the name says the format: CSV and TSV with the names of the columns in the first row, JSON Lines, and
Parquet. The first three may be compressed by gzip; Parquet compresses by itself.
"""

import csv
import gzip
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import msgspec
import pyarrow as pa
from pyarrow import parquet

from training.errors import InputError

LONGEST = 1 << 24
"""Bytes of the longest line and of the longest field: what a server takes in one message. One that is longer is mostly
a quotation mark that is never closed."""

READ = "CSV (.csv), TSV (.tsv) and JSON Lines (.jsonl, .ndjson), each also with .gz, and Parquet (.parquet)"
"""The formats, for people."""

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_JSON = (".jsonl", ".ndjson")
_BOM = b"\xef\xbb\xbf"
_ROWS = 1000
"""Rows between two calls of `progress`, and rows of Parquet in memory at a time."""


class Row(NamedTuple):
    """A text and its label."""

    text: str
    label: str
    """Not empty, on one line, without white space around it."""
    number: int
    """From 1: of the line that the row starts on; in Parquet, of the row."""


class LabelledFile:
    """A file of labelled texts. It is opened by `rows`, as often as that is called.

    Args:
        path: the file.
        text_column: the column, or key in JSON Lines, of the texts.
        label_column: the one of the labels. A number or a truth value becomes its JSON text.

    Raises:
        InputError: the name's ending is none of those that are read, or the two columns are one.
    """

    def __init__(self, path: Path, text_column: str = "text", label_column: str = "label") -> None:
        self.path = path
        self.text_column, self.label_column = text_column, label_column
        endings = [ending.lower() for ending in path.suffixes]
        self._gzip = endings[-1:] == [".gz"]
        self._format = "".join(endings[-2:-1] if self._gzip else endings[-1:])
        if self._format not in _DELIMITERS and self._format not in _JSON and (self._format != ".parquet" or self._gzip):
            raise InputError(f"{path}: the ending of the name has to say the format: {READ} are read")
        if text_column == label_column:
            raise InputError(f"{path}: the column {text_column!r} cannot be both the text and the label")

    def where(self, number: int) -> str:
        """Returns the file and the line or row of this number, as errors name it."""
        return f"{self.path}: {'row' if self._format == '.parquet' else 'line'} {number}"

    def size(self) -> int:
        """Returns how many bytes the file has.

        Raises:
            InputError: it cannot be read.
        """
        try:
            return self.path.stat().st_size
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror}") from error

    def rows(self, progress: Callable[[int], object] = lambda _: None) -> Iterator[Row]:
        """Reads the rows, in order.

        Args:
            progress: called now and then with the number of bytes of the file that are read.

        Raises:
            InputError: the file cannot be read, has no such column, or a row is malformed. The text names its line.
        """
        try:
            with self.path.open("rb") as file:
                for count, (number, text, label) in enumerate(self._pairs(file)):
                    if count % _ROWS == 0:
                        progress(file.tell())
                    yield Row(text, self._checked(label, number), number)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(f"{self.path}: not a whole gzip file ({error})") from error
        except pa.ArrowException as error:
            raise InputError(f"{self.path}: not a whole Parquet file ({error})") from error
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror or error}") from error

    def _pairs(self, file: IO[bytes]) -> Iterator[tuple[int, str, Any]]:
        if self._format == ".parquet":
            return self._parquet_rows(file)
        lines = self._lines(cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if self._gzip else file)
        if self._format in _JSON:
            return self._json_rows(lines)
        return self._separated_rows(lines, _DELIMITERS[self._format])

    def _lines(self, file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
        number = 0
        while line := file.readline(LONGEST + 1):
            number += 1
            if len(line) > LONGEST:
                raise InputError(f"{self.where(number)}: longer than {LONGEST:,} bytes")
            yield number, line.removeprefix(_BOM) if number == 1 else line
        if not number:
            raise InputError(f"{self.path}: is empty")

    def _decoded(self, lines: Iterator[tuple[int, bytes]]) -> Iterator[str]:
        for number, line in lines:
            try:
                yield line.decode()
            except UnicodeDecodeError as error:
                raise self._not_utf8(number, error) from error

    def _separated_rows(self, lines: Iterator[tuple[int, bytes]], delimiter: str) -> Iterator[tuple[int, str, Any]]:
        csv.field_size_limit(LONGEST)  # of the whole process: the module has no other
        reader = csv.reader(self._decoded(lines), delimiter=delimiter, strict=True)
        columns: list[str] = []
        text = label = number = 0
        try:
            for row in reader:
                start, number = number + 1, reader.line_num
                if not row:  # an empty line
                    continue
                if not columns:
                    columns = row
                    text, label = (self._column(name, columns) for name in (self.text_column, self.label_column))
                elif len(row) != len(columns):
                    raise InputError(f"{self.where(start)}: {len(row)} columns, but the first row names {len(columns)}")
                else:
                    yield start, row[text], row[label]
        except csv.Error as error:
            raise InputError(f"{self.where(number + 1)}: {error}") from error

    def _json_rows(self, lines: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, str, Any]]:
        fields: list[tuple[str, Any]] = [("text", str), ("label", str | int | float | bool)]
        row_type = msgspec.defstruct("Object", fields, rename={"text": self.text_column, "label": self.label_column})
        decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(row_type)
        for number, line in lines:
            if line.isspace():
                continue
            try:
                row = decoder.decode(line)
            except UnicodeDecodeError as error:
                raise self._not_utf8(number, error) from error
            except msgspec.ValidationError as error:
                keys = msgspec.json.decode(line)
                named = f" (its keys are {_shown(keys)})" if isinstance(keys, dict) else ""
                raise InputError(f"{self.where(number)}: {error}{named}") from error
            except msgspec.DecodeError as error:
                raise InputError(f"{self.where(number)}: {error}") from error
            yield number, row.text, row.label

    def _parquet_rows(self, file: IO[bytes]) -> Iterator[tuple[int, str, Any]]:
        # Buffered: a page at a time is in memory, not a whole row group.
        source = parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)
        names = source.schema_arrow.names
        columns = [names[self._column(name, names)] for name in (self.text_column, self.label_column)]
        number = 0
        for batch in source.iter_batches(_ROWS, columns=columns):
            for text, label in zip(batch[self.text_column], batch[self.label_column], strict=True):
                number += 1
                try:
                    pair = text.as_py(), label.as_py()
                except UnicodeDecodeError as error:
                    raise self._not_utf8(number, error) from error
                if not isinstance(pair[0], str):
                    raise InputError(f"{self.where(number)}: {self.text_column!r} holds {_kind(pair[0])}, not a string")
                yield number, *pair

    def _column(self, name: str, columns: list[str]) -> int:
        if columns.count(name) != 1:
            found = "no column" if name not in columns else "more than one column"
            raise InputError(f"{self.path}: {found} {name!r}: its columns are {_shown(columns)}")
        return columns.index(name)

    def _checked(self, label: object, number: int) -> str:
        if isinstance(label, bool):
            label = str(label).lower()
        if not isinstance(label, str | int | float) or _is_nan(label):
            raise InputError(f"{self.where(number)}: {self.label_column!r} holds {_kind(label)}, not a label")
        text = str(label).strip()
        if not text or "\n" in text or "\r" in text:
            raise InputError(f"{self.where(number)}: the label is {'on several lines' if text else 'empty'}")
        return text

    def _not_utf8(self, number: int, error: UnicodeDecodeError) -> InputError:
        return InputError(f"{self.where(number)}: not UTF-8 ({error.reason} {error.object[error.start]:#04x})")


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


def _shown(names: object) -> str:
    return ", ".join(map(repr, names)) if isinstance(names, list | dict) else ""


def _kind(value: object) -> str:
    return str(value) if value is None or _is_nan(value) else f"a value of type {type(value).__name__}"


def _is_nan(value: object) -> bool:
    """Tells whether this is how Pandas writes that no value is there."""
    return isinstance(value, float) and math.isnan(value)
