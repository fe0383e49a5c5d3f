"""Helpers that write Markdown."""

import re
from collections.abc import Iterable, Mapping, Sequence

from training.evaluation.shown_labels import visible


def escaped(text: str) -> str:
    """Returns Markdown that reads as this text, on one line, in a table too."""
    return re.sub(r"([\\`*_\[\]<>|~&$!#])", r"\\\1", visible(" ".join(text.split())))


def image(description: str, link: str, missing: Mapping[str, str]) -> str:
    """Returns an image, or, if its link is among those that are missing, that it is and why."""
    return f"*{description}: missing. {escaped(missing[link])}*" if link in missing else f"![{description}]({link})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table of cells that are Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
