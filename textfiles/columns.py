"""Hints about a column that a file lacks."""

import shlex
import unicodedata
from collections.abc import Iterable

TEXT_OPTION = "--text-column"
LABEL_OPTION = "--label-column"


def spelling_hint(name: str, there: Iterable[str], option: str | None) -> str:
    """Returns a hint, after a colon, that names a column which differs from the missing one only in case, white
    space or its Unicode form; an empty string if there is none.

    Args:
        name: the missing column.
        there: the other columns.
        option: the option that names only this column; None if there is none.
    """
    alike = next((other for other in there if _folded(other) == _folded(name)), None)
    if alike is None or alike == name:
        return ""
    note = " (copy it: it looks the same, but has other code points)" if _composed(alike) == _composed(name) else ""
    quoted = f"'{alike}'" if shlex.quote(alike) == alike else shlex.quote(alike)
    return f": give {option} {quoted}{note}" if option else f": is {alike!r}{note} meant?"


def _folded(name: str) -> str:
    return _composed(name.strip().strip("\ufeff").casefold())


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
