"""The items that a reader yields for the rows of a file: a row's value, or why it cannot be read."""

from typing import Generic, NamedTuple, TypeVar

from textfiles.decoding import ENCODING_HINT

_T_co = TypeVar("_T_co", covariant=True)


class Row(NamedTuple, Generic[_T_co]):
    """A row of a file."""

    number: int
    """The number of the line on which the row starts, or of the row in Parquet, from 1."""
    value: _T_co
    looks_merged: bool = False
    """Whether a field contains lines that look like rows, as if an unclosed quotation mark had merged them."""


class Unreadable(NamedTuple):
    """A row that cannot be read."""

    number: int
    """See `Row.number`."""
    reason: str

    @property
    def has_wrong_encoding(self) -> bool:
        """Whether its bytes are invalid in the encoding that the file is read in."""
        return self.reason.endswith(ENCODING_HINT)
