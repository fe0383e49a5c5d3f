"""Finds fonts for labels of any script, among those of Matplotlib and the installed ones."""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font

from training.evaluation.shown_labels import numbered, shortened

DEFAULT_FAMILY = "DejaVu Sans"
"""A font that comes with Matplotlib: Latin, Greek, Cyrillic, Armenian, Georgian, Arabic and Hebrew letters."""
_PLACEHOLDERS = "Last Resort"
"""A font that shows a box for every character."""
_PLAIN = ("normal", 400)


class Labels(NamedTuple):
    """How labels are drawn."""

    texts: list[str]
    """The text of each label: the label, cut if it is long; # and its number, from 1, if no font has all of its
    characters; both, if several labels look alike."""
    families: list[str]
    """The font families that have the characters, in order of preference."""


def drawable(labels: Sequence[str], default: str = DEFAULT_FAMILY) -> Labels:
    """Returns how labels are drawn: short, distinct, and without characters that no font has."""
    short = shortened(labels)
    missing = _characters(short) - _covered(default)
    families = [default]
    for family in _installed() if missing else ():
        if found := missing & _covered(family):
            families.append(family)
            missing -= found
    texts = [f"#{number}" if missing & set(text) else text for number, text in enumerate(short, 1)]
    return Labels(numbered(labels, texts), families)


def legend(labels: Sequence[str]) -> str:
    """Returns a sentence that says which labels the numbers stand for; empty if there is no number."""
    texts = drawable(labels).texts
    found = [
        f"#{number} is {label}"
        for number, (label, text) in enumerate(zip(labels, texts, strict=True), 1)
        if text != label and f"{text} ".startswith(f"#{number} ")
    ]
    if not found:
        return ""
    return (
        "No installed font has all characters of these labels, or they look alike where they are cut: in the figure,"
        f" {', '.join(found)}."
    )


def _characters(labels: Iterable[str]) -> set[str]:
    return set().union(*labels) if labels else set()


def _installed() -> list[str]:
    return sorted({font.name for font in fontManager.ttflist if not font.name.startswith(_PLACEHOLDERS)})


@cache
def _covered(family: str) -> frozenset[str]:
    """Returns the characters of a family's plain font; none if it cannot be read, such as a font of coloured emoji."""
    for font in fontManager.ttflist:
        if font.name == family and (font.style, font.weight) == _PLAIN and Path(font.fname).is_file():
            try:
                return frozenset(map(chr, FT2Font(font.fname).get_charmap()))
            except (RuntimeError, OSError):
                return frozenset()
    return frozenset()
