"""Fonts for labels of any script: those that Matplotlib brings, and those that are installed."""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font

DEFAULT_FAMILY = "DejaVu Sans"
"""Comes with Matplotlib: Latin, Greek, Cyrillic, Armenian, Georgian, Arabic and Hebrew letters."""
_PLACEHOLDERS = "Last Resort"
"""A font that has a box in place of every character."""
_PLAIN = ("normal", 400)


class Labels(NamedTuple):
    """How labels are drawn."""

    texts: list[str]
    """Each label, or # and its number, from 1, if no font has all of its characters."""
    families: list[str]
    """The families of fonts that have the characters, in order."""


def drawable(labels: Sequence[str], default: str = DEFAULT_FAMILY) -> Labels:
    """Returns how labels are drawn without a character that is missing in the fonts."""
    missing = _characters(labels) - _covered(default)
    families = [default]
    for family in _installed() if missing else ():
        if found := missing & _covered(family):
            families.append(family)
            missing -= found
    texts = [f"#{number}" if missing & set(label) else label for number, label in enumerate(labels, 1)]
    return Labels(texts, families)


def legend(labels: Sequence[str]) -> str:
    """Returns a sentence that says which labels the numbers stand for, empty if every label is drawn."""
    numbered = [
        f"{text} is {label}" for text, label in zip(drawable(labels).texts, labels, strict=True) if text != label
    ]
    return f"No installed font has all characters of these labels: in the figure, {', '.join(numbered)}." * bool(
        numbered
    )


def _characters(labels: Iterable[str]) -> set[str]:
    return set().union(*labels) if labels else set()


def _installed() -> list[str]:
    return sorted({font.name for font in fontManager.ttflist if not font.name.startswith(_PLACEHOLDERS)})


@cache
def _covered(family: str) -> frozenset[str]:
    """Returns the characters of a family's plain font; none if it cannot be read, as fonts of coloured emoji."""
    for font in fontManager.ttflist:
        if font.name == family and (font.style, font.weight) == _PLAIN and Path(font.fname).is_file():
            try:
                return frozenset(map(chr, FT2Font(font.fname).get_charmap()))
            except (RuntimeError, OSError):
                return frozenset()
    return frozenset()
