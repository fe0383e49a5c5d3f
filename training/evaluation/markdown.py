"""Helpers that write Markdown."""

import re
from collections.abc import Iterable, Mapping, Sequence

from training.evaluation.shown_labels import visible


def escaped(text: str) -> str:
    """Returns Markdown that renders as this text, on one line, also inside a table."""
    return re.sub(r"([\\`*_\[\]<>|~&$!#])", r"\\\1", visible(" ".join(text.split())))


def image(description: str, link: str, missing: Mapping[str, str]) -> str:
    """Returns an image, or a note with the reason if its link is among the missing ones."""
    return f"*{description}: missing. {escaped(missing[link])}*" if link in missing else f"![{description}]({link})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table. Its cells must be Markdown already."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
