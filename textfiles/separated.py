"""Reads the rows of CSV and TSV."""

import csv
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from textfiles.decoding import UTF8, wrong_encoding
from textfiles.errors import counted
from textfiles.rows import Row, Unreadable

MAX_LINE_BYTES = 1 << 24
"""Maximum length of a line and of a field, in bytes. A longer field is mostly the result of a quotation mark that is
never closed."""

_MIN_MERGED = 10
"""A valid row with more lines than this may consist of merged rows."""
_MIN_SWALLOWED = 3
"""A bad row with this number of inner lines or more may have swallowed rows. A valid row needs more evidence."""
_MERGED_SHARE = 0.9
"""Lines look like rows if at least this share of them has as many delimiters as a row."""

_REASONS = {
    "unexpected end of data": "a quotation mark is opened here and never closed; double it, or use --quoting none",
    "expected after": "text follows a closing quotation mark; double the marks inside a field, or use --quoting none",
    "field larger than": f"a field is longer than {MAX_LINE_BYTES:,} bytes; if a quotation mark is not closed, use"
    " --quoting none",
    "new-line character": "a carriage return stands outside quotation marks; if the lines end with it alone, replace"
    " each by a newline, as tr '\\r' '\\n' does; otherwise quote the field",
}
"""Parts of the csv module's messages, and the reasons that errors give instead."""


class SeparatedRows:
    """An iterator over the rows of CSV or TSV, including the first. Empty lines are skipped.

    Args:
        lines: the lines of the file, each with its line end.
        delimiter: the field separator, one character.
        quoting: whether quotation marks enclose fields. Otherwise they are text.
        encoding: the name of the file's encoding, for errors.
    """

    def __init__(
        self, lines: Iterable[Row[bytes] | Unreadable], delimiter: str, *, quoting: bool = True, encoding: str = UTF8
    ) -> None:
        csv.field_size_limit(MAX_LINE_BYTES)  # the csv module has one limit for the whole process
        self._lines = iter(lines)
        self._again: deque[Row[bytes] | Unreadable] = deque()
        """Lines that are read again, before further lines."""
        self._taken: list[Row[bytes] | Unreadable] = []
        """The lines of the current row."""
        self._encoding = encoding
        self._unreadable: Unreadable | None = None
        """The first line of the current row that cannot be read."""
        self._columns = 0
        self._delimiter = delimiter
        self._quoting = quoting
        self._reader = self._new_reader()

    def _new_reader(self) -> Iterator[list[str]]:
        return csv.reader(
            self._decoded(),
            delimiter=self._delimiter,
            strict=self._quoting,
            quoting=csv.QUOTE_MINIMAL if self._quoting else csv.QUOTE_NONE,
        )

    def __iter__(self) -> Iterator[Row[list[str]] | Unreadable]:
        return self

    def __next__(self) -> Row[list[str]] | Unreadable:
        while True:
            row = self._next_row()
            if isinstance(row, Unreadable) and len(self._taken) > 1:
                return self._first_line_only() if self._swallowed_rows() else self._with_lines(row)
            if row:
                return row

    def _next_row(self) -> Row[list[str]] | Unreadable | None:
        """Returns the next row; None for an empty line."""
        self._taken.clear()
        self._unreadable = None
        fields: list[str] = []
        reason = ""
        try:
            fields = next(self._reader)
        except StopIteration:
            if self._unreadable is None:
                raise
        except csv.Error as error:  # the next row begins on the next line
            reason = _reason(error)
        start = self._taken[0].number
        if self._unreadable:
            return self._unreadable
        if reason:
            return Unreadable(start, reason)
        if not fields:
            return None
        return self._checked(Row(start, fields, len(self._taken) > _MIN_MERGED and self._look_merged(fields)))

    def _swallowed_rows(self) -> bool:
        """Returns whether an unclosed quotation mark has made other rows part of the current, bad row."""
        lines = [line.value for line in self._taken[1:-1] if isinstance(line, Row)]
        return self._look_like_rows([line.decode(errors="replace") for line in lines], _MIN_SWALLOWED)

    def _first_line_only(self) -> Unreadable:
        """Ends the current row after its first line. Its other lines are read again, as rows."""
        first, *others = self._taken
        self._again.extendleft(reversed(others))
        self._reader = self._new_reader()
        return Unreadable(first.number, _REASONS["unexpected end of data"])

    def _with_lines(self, row: Unreadable) -> Unreadable:
        first, last = self._taken[0].number, self._taken[-1].number
        return Unreadable(row.number, f"in the row of lines {first:,} to {last:,}: {row.reason}")

    def _checked(self, row: Row[list[str]]) -> Row[list[str]] | Unreadable:
        self._columns = self._columns or len(row.value)
        if len(row.value) != self._columns:
            return Unreadable(row.number, f"{counted(len(row.value), 'column')}, but the first row has {self._columns}")
        return row

    def _look_merged(self, fields: Sequence[str]) -> bool:
        return any(self._look_like_rows(field.split("\n")[1:-1], _MIN_MERGED - 1) for field in fields)

    def _look_like_rows(self, lines: Sequence[str], least: int) -> bool:
        like_rows = sum(line.count(self._delimiter) == self._columns - 1 for line in lines)
        return self._columns > 1 and len(lines) >= least and like_rows >= _MERGED_SHARE * len(lines)

    def _decoded(self) -> Iterator[str]:
        """Yields the lines of the file as strings, for the csv module. An unreadable line yields a stand-in."""
        while line := self._again.popleft() if self._again else next(self._lines, None):
            self._taken.append(line)
            if isinstance(line, Unreadable):
                self._unreadable = self._unreadable or line
                yield "\n"
                continue
            try:
                yield line.value.decode()
            except UnicodeDecodeError as error:
                self._unreadable = self._unreadable or Unreadable(line.number, wrong_encoding(error, self._encoding))
                yield line.value.decode(errors="replace")


def _reason(error: csv.Error) -> str:
    return next((reason for message, reason in _REASONS.items() if message in str(error)), str(error))
