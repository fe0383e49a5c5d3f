"""Reads a file of texts as a stream, a row at a time, whatever its size.

A row that cannot be read is yielded as `Unreadable`, and reading goes on. The caller decides what to do.
"""

import io
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO

import msgspec
import pyarrow as pa

from textfiles import decompression, json_lines, parquet
from textfiles.columns import TEXT_OPTION, spelling_hint
from textfiles.decoding import UTF8, Utf8Stream, canonical_encoding, detected_encoding, wrong_encoding
from textfiles.errors import InputError, listed
from textfiles.formats import FORMATS, Compression, Format, format_of, split_compression
from textfiles.magic import START_BYTES, not_text
from textfiles.rows import Row, Unreadable
from textfiles.separated import MAX_LINE_BYTES, SeparatedRows
from textfiles.temporary import temporary_space

STANDARD_INPUT = Path("-")

_ENCRYPTED = 1
"""The bit of the flags of a member of a zip file that tells that it is encrypted."""
_DELIMITERS = ",;\t|"
"""The field separators that an error may suggest."""
_MAX_COLUMNS_NAMED = 20


@dataclass(frozen=True)
class ReadOptions:
    """How files are read, as far as their names and contents do not say so.

    Raises:
        InputError: the value of an option is invalid.
    """

    format: Format | None = None
    """The format. None: the ending of the file's name says it."""
    encoding: str | None = None
    """The encoding of all formats but Parquet. None: UTF-8, unless the file is recognized as UTF-16 or UTF-32. A byte
    order mark takes precedence."""
    delimiter: str | None = None
    """The field separator of CSV and TSV, one character. None: that of the format."""
    quoting: bool = True
    """Whether quotation marks enclose fields of CSV and TSV."""
    header: bool = True
    """Whether the first row of CSV and TSV names the columns. Otherwise the names are numbers, from 1."""

    def __post_init__(self) -> None:
        if self.encoding is not None and canonical_encoding(self.encoding) is None:
            raise InputError(f"--encoding: {self.encoding!r} is no encoding: give a name as utf-8, cp1252 or shift_jis")
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            raise InputError(f"--delimiter: {self.delimiter!r} is not one character: give a character, or tab")

    def arguments(self) -> list[str]:
        """Returns the command-line arguments that give these options."""
        words = ["--input-format", self.format.value[1:]] if self.format else []
        words += ["--encoding", self.encoding] if self.encoding else []
        words += ["--delimiter", "tab" if self.delimiter == "\t" else self.delimiter] if self.delimiter else []
        return [*words, *([] if self.quoting else ["--quoting", "none"]), *([] if self.header else ["--no-header"])]


DEFAULT_OPTIONS = ReadOptions()


class TextFile:
    """A file of texts. Its methods read from a file that `open` returns. It can be opened any number of times.

    Args:
        path: the file. `STANDARD_INPUT` is copied to a temporary file when it is first opened.
        options: how the file is read.

    Raises:
        InputError: the path is not UTF-8, neither the options nor the ending of the name says the format, or a zip file
            cannot be used.
    """

    def __init__(self, path: Path, options: ReadOptions = DEFAULT_OPTIONS) -> None:
        self.path = path
        self.options = options
        _require_utf8(path)
        name, self.compression = split_compression(path.name)
        if self.compression is Compression.ZIP:
            name = self._member_name()
        found = options.format or format_of(name)
        if path == STANDARD_INPUT and found is None:
            raise InputError(f"{self}: name its format with --input-format")
        if found is None or (found is Format.PARQUET and self.compression):
            holds = f"holds {name!r}: " if self.compression is Compression.ZIP else ""
            raise InputError(f"{self}: {holds}the ending of the name has to say the format: {FORMATS} are read")
        self.format = found
        self._copy: IO[bytes] | None = None
        """The copy of standard input."""

    def __str__(self) -> str:
        return "standard input" if self.path == STANDARD_INPUT else str(self.path)

    @property
    def delimiter(self) -> str:
        """The field separator of CSV and TSV."""
        return self.options.delimiter or self.format.delimiter

    @property
    def unit(self) -> str:
        """The unit of row numbers: "row" or "line"."""
        return "row" if self.format is Format.PARQUET else "line"

    def where(self, number: int) -> str:
        """Returns the name of the file and of its line or row with this number, for errors."""
        return f"{self}: {self.unit} {number}"

    def reason(self, row: Unreadable) -> bytes:
        """Returns a line of JSON with the position of a row and the reason why it cannot be read."""
        return msgspec.json.encode({"file": str(self), self.unit: row.number, "reason": row.reason}) + b"\n"

    def size(self) -> int:
        """Returns the size of the file in bytes.

        Raises:
            InputError: the file cannot be read.
        """
        with self._opened() as file:
            return os.fstat(file.fileno()).st_size

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Opens the file. Its position tells how much of it has been read.

        Raises:
            InputError: the file cannot be opened, or, inside the block, cannot be read to its end.
        """
        try:
            with self._opened() as file:
                yield file
        except decompression.ERRORS as error:
            raise InputError(f"{self}: {self._damage(error)}") from error

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        if self.path == STANDARD_INPUT:
            if sys.stdin is None:
                raise InputError("standard input is closed: give a file")
            self._copy = self._copy or _copied(sys.stdin.buffer)
            self._copy.seek(0)
            yield self._copy
            return
        try:
            file = self.path.open("rb", buffering=1 << 16)  # lines are mostly long
        except OSError as error:
            raise InputError(f"{self}: {error.strerror}") from error
        with file:
            yield file

    def _damage(self, error: Exception) -> str:
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        if self.format is Format.PARQUET:
            return f"not a whole Parquet file ({error})"
        return f"not a whole {self.compression.name.lower()} file ({error})" if self.compression else str(error)

    def _member_name(self) -> str:
        """Returns the name of the only file in a zip file."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                names = decompression.member_names(archive)
                encrypted = any(archive.getinfo(name).flag_bits & _ENCRYPTED for name in names)
        except decompression.ERRORS as error:
            reason = getattr(error, "strerror", None) or f"not a whole zip file ({error})"
            raise InputError(f"{self.path}: {reason}") from error
        if len(names) != 1:
            found = f"{len(names)} files ({listed(names)})" if names else "no file"
            raise InputError(f"{self.path}: holds {found}: a zip file of one file is read; unpack it")
        if encrypted:
            raise InputError(f"{self.path}: is encrypted: unpack it")
        return names[0]

    def lines(self, file: IO[bytes]) -> Iterator[Row[str] | Unreadable]:
        """Reads the lines, each with its line end."""
        encoding, lines = self._lines(file)
        for line in lines:
            if isinstance(line, Unreadable):
                yield line
            else:
                try:
                    yield Row(line.number, line.value.decode())
                except UnicodeDecodeError as error:
                    yield Unreadable(line.number, wrong_encoding(error, encoding))

    def _lines(self, file: IO[bytes]) -> tuple[str, Iterator[Row[bytes] | Unreadable]]:
        """Returns the file's encoding and its lines, in UTF-8."""
        source = decompression.decompressed(file, self.compression)
        start = source.peek(START_BYTES)[:START_BYTES]
        if not start:
            raise InputError(f"{self}: is empty")
        if kind := not_text(start, self._renamable()):
            raise InputError(f"{self}: {kind}")
        detected, mark_length = detected_encoding(start[:4])
        source.read(mark_length)
        encoding = canonical_encoding((detected if mark_length else self.options.encoding or detected) or UTF8) or UTF8
        if encoding != UTF8:
            source = io.BufferedReader(Utf8Stream(source, encoding), 1 << 16)
        return encoding, _lines_of(source)

    def _renamable(self) -> str | None:
        """Returns the file's name; None if another ending would not change how the file is read."""
        fixed = self.path == STANDARD_INPUT or self.compression or self.options.format
        return None if fixed else self.path.name

    def separated(self, file: IO[bytes]) -> tuple[list[str], Iterator[Row[list[str]] | Unreadable]]:
        """Returns the column names of CSV or TSV, and an iterator over the rows. Empty lines are skipped.

        Raises:
            InputError: the first row cannot be read.
        """
        encoding, lines = self._lines(file)
        rows = SeparatedRows(lines, self.delimiter, quoting=self.options.quoting, encoding=encoding)
        first = next(rows, None)
        if not isinstance(first, Row):
            raise InputError(f"{self.where(*first[:1])}: {first.reason}" if first else f"{self}: is empty")
        if self.options.header:
            return first.value, rows
        return [str(number) for number in range(1, len(first.value) + 1)], chain([first], rows)

    def objects(self, file: IO[bytes]) -> Iterator[Row[dict[str, msgspec.Raw]] | Unreadable]:
        """Reads the objects of JSON Lines, with the values as raw JSON. Empty lines are skipped.

        Raises:
            InputError: the file is JSON, but not one value per line.
        """
        decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
        lines = (line for line in self.lines(file) if isinstance(line, Unreadable) or not line.value.isspace())
        start = list(islice(lines, 2))
        if kind := json_lines.another_kind([line.value for line in start if isinstance(line, Row)]):
            raise InputError(f"{self}: {kind}")
        for line in chain(start, lines):
            if isinstance(line, Unreadable):
                yield line
                continue
            try:
                yield Row(line.number, decoder.decode(line.value))
            except msgspec.DecodeError as error:
                yield Unreadable(line.number, json_lines.malformed(error, line.value))
            except RecursionError:
                yield Unreadable(line.number, "its arrays and objects are nested too deeply")

    def record_batches(
        self, file: IO[bytes], rows: int, columns: Sequence[str] | None = None
    ) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """Returns the schema of Parquet, and an iterator over batches of about `rows` rows, or fewer if the rows are
        large, with these columns or all. The file must have each of them once: see `column`.
        """
        source = parquet.open_parquet(file)
        return source.schema_arrow, parquet.record_batches(source, rows, columns)

    def column(self, name: str, columns: Sequence[str], option: str | None = TEXT_OPTION) -> int:
        """Returns the position of a column among those of the file.

        Args:
            name: the column.
            columns: the columns of the file.
            option: the option that names only this column, for hints; None if there is none.

        Raises:
            InputError: the column is missing, or several columns have its name.
        """
        if columns.count(name) == 1:
            return columns.index(name)
        found = "no column" if name not in columns else "more than one column"
        message = f"{self}: {found} {name!r}: its columns are {listed(columns, _MAX_COLUMNS_NAMED)}"
        raise InputError(message + self._column_hint(name, columns, option))

    def _column_hint(self, name: str, columns: Sequence[str], option: str | None) -> str:
        """Returns a hint about a missing column, if the names of the other columns suggest one."""
        if hint := spelling_hint(name, columns, option):
            return hint
        if not self.options.header:
            return ": without a header, the name of a column is its number"
        is_separated = self.format in (Format.CSV, Format.TSV)
        if is_separated and (hint := self._header_hint(name, columns)):
            return hint
        if name in columns or not option:
            return ""
        return f": name it with {option}{', or give --no-header if these are data' if is_separated else ''}"

    def _header_hint(self, name: str, columns: Sequence[str]) -> str:
        header = self.delimiter.join(columns)
        if header.lower().startswith("sep="):
            return ": the first line names the separator for Excel: remove this line"
        for delimiter in _DELIMITERS.replace(self.delimiter, ""):
            names = [field.strip(' "') for field in header.split(delimiter)]
            if name in names or (len(columns) == 1 and len(names) > 1):
                return f": the fields seem to be separated by {delimiter!r}: give --delimiter {_shown(delimiter)}"
        if self.options.encoding and not header.isascii():
            return f": if these names look wrong, the encoding is not {self.options.encoding}: correct --encoding"
        return ""


def _require_utf8(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:  # it can be written neither to a terminal nor to JSON
        raise InputError(f"{path}: the path is not UTF-8: rename the file or its folder") from error


def _shown(delimiter: str) -> str:
    return "tab" if delimiter == "\t" else f"'{delimiter}'"


def _copied(source: IO[bytes]) -> IO[bytes]:
    """Copies a stream, which can be read only once, to a temporary file, which vanishes with the process.

    Raises:
        InputError: the temporary file cannot be written.
    """
    with temporary_space(), tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(source, copy)
        copy.flush()
        return os.fdopen(os.dup(copy.fileno()), "rb")


def _lines_of(source: io.BufferedReader) -> Iterator[Row[bytes] | Unreadable]:
    number = 0
    while line := source.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) <= MAX_LINE_BYTES:
            yield Row(number, line)
        else:
            while line and not line.endswith(b"\n"):
                line = source.readline(MAX_LINE_BYTES)
            yield Unreadable(number, f"longer than {MAX_LINE_BYTES:,} bytes")
