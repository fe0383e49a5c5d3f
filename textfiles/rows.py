"""What a reader yields for each row of a file: its value, or why it cannot be read."""

from typing import Generic, NamedTuple, TypeVar

from textfiles.decoding import ENCODING_HINT

_T_co = TypeVar("_T_co", covariant=True)


class Row(NamedTuple, Generic[_T_co]):
    """A row of a file."""

    number: int
    """From 1: of the line that the row starts on; in Parquet, of the row."""
    value: _T_co
    looks_merged: bool = False
    """Whether a field holds lines that look like rows of the file: a quotation mark that is not closed merges rows."""


class Unreadable(NamedTuple):
    """A row that cannot be read."""

    number: int
    """As in `Row`."""
    reason: str

    @property
    def has_wrong_encoding(self) -> bool:
        """Whether its bytes are not of the encoding that the file is read in."""
        return self.reason.endswith(ENCODING_HINT)
