"""Helpers that write Markdown."""

import re
from collections.abc import Iterable, Sequence


def escaped(text: str) -> str:
    """Returns Markdown that reads as this text, on one line, in a table too."""
    return re.sub(r"([\\`*_\[\]<>|~&$!#])", r"\\\1", " ".join(text.split()))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table of cells that are Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
