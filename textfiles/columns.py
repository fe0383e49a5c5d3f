"""Hints about a column that a file lacks."""

import shlex
from collections.abc import Iterable

TEXT_OPTION = "--text-column"
LABEL_OPTION = "--label-column"


def spelling_hint(name: str, there: Iterable[str], option: str | None) -> str:
    """Returns a hint, after a colon, that names a column which differs from the missing one only in case or white
    space; an empty string if there is none.

    Args:
        name: the missing column.
        there: the other columns.
        option: the option that names only this column; None if there is none.
    """
    alike = next((other for other in there if _folded(other) == _folded(name)), None)
    if alike is None or alike == name:
        return ""
    quoted = f"'{alike}'" if shlex.quote(alike) == alike else shlex.quote(alike)
    return f": give {option} {quoted}" if option else f": is {alike!r} meant?"


def _folded(name: str) -> str:
    return name.strip().strip("\ufeff").casefold()
