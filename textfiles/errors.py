"""The error for files and options that cannot be used, and helpers for messages."""

from collections.abc import Iterable, Sequence

_MAX_NAMED = 5
_MAX_NAME_LENGTH = 80


class InputError(Exception):
    """A file or an option of the user cannot be used.

    Args:
        message: one line that says what is wrong, where, and what to do.
        details: further lines, each about one fault.
    """

    def __init__(self, message: str, details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.details = tuple(details)


def listed(names: Iterable[str], limit: int = _MAX_NAMED) -> str:
    """Returns at most `limit` of the names in quotation marks, separated by commas, and how many more there are.

    Long names are cut.
    """
    every = list(names)
    more = f" and {len(every) - limit:,} more" if len(every) > limit else ""
    return ", ".join(repr(_cut(name)) for name in every[:limit]) + more


def _cut(name: str) -> str:
    return name if len(name) <= _MAX_NAME_LENGTH else f"{name[: _MAX_NAME_LENGTH - 1]}…"


def counted(count: int, noun: str) -> str:
    """Returns a count with its noun, whose plural ends in s: `1 file`, `2,000 files`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
