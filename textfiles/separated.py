"""Reads the rows of CSV and TSV."""

import csv
from collections.abc import Iterable, Iterator, Sequence

from textfiles.decoding import UTF8, wrong_encoding
from textfiles.errors import counted
from textfiles.rows import Row, Unreadable

MAX_LINE_BYTES = 1 << 24
"""Maximum length of a line and of a field, in bytes: what a server takes in one message. What is longer is mostly the
result of a quotation mark that is never closed."""

_MIN_MERGED = 10
"""Line breaks of a row that has to be looked at."""
_MERGED_SHARE = 0.9
"""The share of a field's lines with as many delimiters as a row has, from which on they look like rows."""

_REASONS = {
    "unexpected end of data": "a quotation mark is opened here and never closed; double it, or use --quoting none",
    "expected after": "text follows a closing quotation mark; double the marks inside a field, or use --quoting none",
    "field larger than": f"a field is longer than {MAX_LINE_BYTES:,} bytes; if a quotation mark is not closed, use"
    " --quoting none",
    "new-line character": "a carriage return stands outside quotation marks",
}
"""Messages of the csv module, and what they mean for the file."""


class SeparatedRows:
    """An iterator over the rows of CSV or TSV, the first included. Empty lines are no rows.

    Args:
        lines: of the file, each with its end.
        delimiter: one character.
        quoting: whether quotation marks enclose fields. Else they are text.
        encoding: the name for errors.
    """

    def __init__(
        self, lines: Iterable[Row[bytes] | Unreadable], delimiter: str, *, quoting: bool = True, encoding: str = UTF8
    ) -> None:
        csv.field_size_limit(MAX_LINE_BYTES)  # of the whole process: the module has no other
        self._lines = lines
        self._encoding = encoding
        self._unreadable: Unreadable | None = None
        """The first line of the current row that cannot be read."""
        self._columns = 0
        self._delimiter = delimiter
        self._reader = csv.reader(
            self._decoded(),
            delimiter=delimiter,
            strict=quoting,
            quoting=csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE,
        )

    def __iter__(self) -> Iterator[Row[list[str]] | Unreadable]:
        return self

    def __next__(self) -> Row[list[str]] | Unreadable:
        while True:
            start = self._reader.line_num + 1
            fields: list[str] = []
            reason = ""
            try:
                fields = next(self._reader)
            except StopIteration:
                if self._unreadable is None:
                    raise
            except csv.Error as error:  # the next row begins on the next line
                reason = _reason(error)
            if unreadable := self._unreadable:
                self._unreadable = None
                return unreadable
            if reason:
                return Unreadable(start, reason)
            if fields:
                many_lines = self._reader.line_num - start >= _MIN_MERGED
                return self._checked(Row(start, fields, many_lines and self._look_merged(fields)))

    def _checked(self, row: Row[list[str]]) -> Row[list[str]] | Unreadable:
        self._columns = self._columns or len(row.value)
        if len(row.value) != self._columns:
            return Unreadable(row.number, f"{counted(len(row.value), 'column')}, but the first row has {self._columns}")
        return row

    def _look_merged(self, fields: Sequence[str]) -> bool:
        return any(self._holds_rows(field.split("\n")[1:-1]) for field in fields)

    def _holds_rows(self, lines: Sequence[str]) -> bool:
        like_rows = sum(line.count(self._delimiter) == self._columns - 1 for line in lines)
        return self._columns > 1 and len(lines) >= _MIN_MERGED - 1 and like_rows >= _MERGED_SHARE * len(lines)

    def _decoded(self) -> Iterator[str]:
        """Yields a line for each line of the file: the csv module counts them and follows the quotation marks."""
        for line in self._lines:
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
