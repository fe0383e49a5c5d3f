"""Reads a file of texts a row at a time, whatever its size. The ending of the name says the format.

A row that cannot be read comes as what is wrong with it, and the rows after it are read: the caller decides.
"""

import csv
import gzip
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, Generic, NamedTuple, TypeVar, cast

import msgspec
import pyarrow as pa
from pyarrow import parquet

from textfiles.errors import InputError

LONGEST = 1 << 24
"""Bytes of the longest line and of the longest field: what a server takes in one message. One that is longer is mostly
a quotation mark that is never closed."""

TABLES = "CSV (.csv), TSV (.tsv) and JSON Lines (.jsonl, .ndjson), each also with .gz, and Parquet (.parquet)"
"""The formats with columns, for people."""
FORMATS = f"{TABLES}, and plain text, a text a line (.txt, .txt.gz)"
"""All formats, for people."""

_BATCH_BYTES = 1 << 20
_STEP_ROWS = 128
"""Of Parquet. More are no faster, and would be much memory where some rows are far larger than others, or repeat a long
text that the file holds once."""
_BOM = b"\xef\xbb\xbf"
_T_co = TypeVar("_T_co", covariant=True)


class Format(StrEnum):
    """What a file holds; the value is the ending of its name."""

    CSV = ".csv"
    TSV = ".tsv"
    JSON_LINES = ".jsonl"
    PARQUET = ".parquet"
    TEXT = ".txt"

    @property
    def delimiter(self) -> str:
        """What separates the fields of CSV and TSV."""
        return "\t" if self is Format.TSV else ","


_ENDINGS = {**{each.value: each for each in Format}, ".ndjson": Format.JSON_LINES}


class Row(NamedTuple, Generic[_T_co]):
    """A row of a file."""

    number: int
    """From 1: of the line that the row starts on; in Parquet, of the row."""
    value: _T_co


class Unreadable(NamedTuple):
    """A row that cannot be read."""

    number: int
    reason: str


class TextFile:
    """A file of texts. Its methods read what `open` gives, as often as that is called.

    Args:
        path: the file.

    Raises:
        InputError: the name's ending is none of those that are read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        endings = [ending.lower() for ending in path.suffixes]
        self.compressed = endings[-1:] == [".gz"]
        """Whether by gzip; Parquet compresses by itself."""
        found = _ENDINGS.get("".join(endings[-2:-1] if self.compressed else endings[-1:]))
        if found is None or (found is Format.PARQUET and self.compressed):
            raise InputError(f"{path}: the ending of the name has to say the format: {FORMATS} are read")
        self.format = found

    @property
    def unit(self) -> str:
        """What the rows' numbers count."""
        return "row" if self.format is Format.PARQUET else "line"

    def where(self, number: int) -> str:
        """Returns the file and the line or row of this number, as errors name it."""
        return f"{self.path}: {self.unit} {number}"

    def size(self) -> int:
        """Returns how many bytes the file has.

        Raises:
            InputError: it cannot be read.
        """
        try:
            return self.path.stat().st_size
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror}") from error

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Opens the file; its position tells how much of it is read.

        Raises:
            InputError: from the block too, the file cannot be read to its end.
        """
        try:
            with self.path.open("rb", buffering=1 << 16) as file:  # lines are mostly long
                yield file
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(f"{self.path}: not a whole gzip file ({error})") from error
        except pa.ArrowException as error:
            raise InputError(f"{self.path}: not a whole Parquet file ({error})") from error
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror or error}") from error

    def lines(self, file: IO[bytes]) -> Iterator[Row[str] | Unreadable]:
        """Reads lines, each with its end."""
        for line in self._lines(file):
            if isinstance(line, Unreadable):
                yield line
            else:
                try:
                    yield Row(line.number, line.value.decode())
                except UnicodeDecodeError as error:
                    yield Unreadable(line.number, not_utf8(error))

    def _lines(self, file: IO[bytes]) -> Iterator[Row[bytes] | Unreadable]:
        number = 0
        source = cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if self.compressed else file
        while line := source.readline(LONGEST + 1):
            number += 1
            if len(line) <= LONGEST:
                yield Row(number, line.removeprefix(_BOM) if number == 1 else line)
            else:
                while line and not line.endswith(b"\n"):
                    line = source.readline(LONGEST)
                yield Unreadable(number, f"longer than {LONGEST:,} bytes")
        if not number:
            raise InputError(f"{self.path}: is empty")

    def separated(self, file: IO[bytes]) -> tuple[list[str], Iterator[Row[list[str]] | Unreadable]]:
        """Reads the first row of CSV or TSV, which names the columns, and then the fields of the others. Empty lines
        are no rows.

        Raises:
            InputError: the first row cannot be read.
        """
        rows = self._separated(file)
        first = next(rows, None)
        if not isinstance(first, Row):
            raise InputError(f"{self.where(*first[:1])}: {first.reason}" if first else f"{self.path}: is empty")
        return first.value, rows

    def _separated(self, file: IO[bytes]) -> Generator[Row[list[str]] | Unreadable]:
        unreadable: list[Unreadable] = []

        def lines() -> Iterator[str]:
            # The reader counts the lines and follows the quotation marks, so that it gets something for each.
            for line in self._lines(file):
                if isinstance(line, Unreadable):
                    unreadable.append(line)
                    yield "\n"
                else:
                    try:
                        yield line.value.decode()
                    except UnicodeDecodeError as error:
                        unreadable.append(Unreadable(line.number, not_utf8(error)))
                        yield line.value.decode(errors="replace")

        csv.field_size_limit(LONGEST)  # of the whole process: the module has no other
        reader = csv.reader(lines(), delimiter=self.format.delimiter, strict=True)
        columns = end = 0
        while True:
            start, wrong, row = end + 1, None, None
            try:
                row = next(reader, None)
                if row is None:
                    break
                if columns and row and len(row) != columns:
                    wrong = f"{len(row)} columns, but the first row names {columns}"
            except csv.Error as error:  # the next row begins on the next line
                wrong = str(error)
            end = reader.line_num
            if unreadable:
                yield unreadable[0]
                unreadable.clear()
            elif wrong:
                yield Unreadable(start, wrong)
            elif row:
                columns = columns or len(row)
                yield Row(start, row)
        yield from unreadable

    def objects(self, file: IO[bytes]) -> Iterator[Row[dict[str, msgspec.Raw]] | Unreadable]:
        """Reads the objects of JSON Lines, each value as it is written. Empty lines are no rows."""
        decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
        for line in self.lines(file):
            if isinstance(line, Unreadable):
                yield line
            elif not line.value.isspace():
                try:
                    yield Row(line.number, decoder.decode(line.value))
                except msgspec.DecodeError as error:
                    yield Unreadable(line.number, str(error))

    def record_batches(
        self, file: IO[bytes], rows: int, columns: Sequence[str] | None = None
    ) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """Reads the schema of Parquet, and then about so many rows at a time, fewer if they are large, of the columns
        or of all.

        Raises:
            InputError: there is no such column, or more than one.
        """
        # Buffered: a page at a time is in memory, not a whole row group.
        source = parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)
        for name in columns or ():
            self.column(name, source.schema_arrow.names)
        return source.schema_arrow, _record_batches(source, rows, columns)

    def column(self, name: str, columns: Sequence[str]) -> int:
        """Returns the place of a column among those of the file.

        Raises:
            InputError: there is no such column, or more than one.
        """
        if columns.count(name) != 1:
            found = "no column" if name not in columns else "more than one column"
            raise InputError(f"{self.path}: {found} {name!r}: its columns are {', '.join(map(repr, columns))}")
        return columns.index(name)


def _record_batches(source: parquet.ParquetFile, rows: int, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    """Gathers steps of a few rows: those of a step are in memory together, however large they are."""
    gathered: list[pa.RecordBatch] = []
    count = size = 0
    for group in range(source.num_row_groups):
        about = source.metadata.row_group(group)
        fitting = _BATCH_BYTES * about.num_rows // max(1, about.total_byte_size)
        for step in source.iter_batches(max(1, min(fitting, _STEP_ROWS)), [group], columns=columns):
            gathered.append(step)
            count += len(step)
            size += step.nbytes
            if count >= rows or size >= _BATCH_BYTES:
                batch, gathered, count, size = pa.concat_batches(gathered), [], 0, 0  # the steps are freed
                yield batch
    if gathered:
        yield pa.concat_batches(gathered)


def not_utf8(error: UnicodeDecodeError) -> str:
    """Returns what is wrong with text that is not UTF-8."""
    return f"not UTF-8 ({error.reason} {error.object[error.start]:#04x})"
