"""Texts for a terminal: without control characters, and with words coloured by their contribution."""

import os
from collections.abc import Iterable
from typing import TextIO

from text_classifier.results import WordContribution

# Backgrounds from the 256-colour palette, from pale to strong, for black letters.
_FOR = (194, 157, 120, 82)
_AGAINST = (224, 217, 210, 203)


def coloured_output(output: TextIO) -> bool:
    """Tells whether to write colours: if the output is a colour terminal and $NO_COLOR is not set (no-color.org)."""
    return output.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def coloured(text: str, words: Iterable[WordContribution]) -> str:
    """Returns the text with words that support the label in green, and words that oppose it in red.

    The larger a contribution is, relative to the largest of the text, the stronger is its colour. Words with
    contributions near 0 have no colour.
    """
    words = list(words)
    strongest = max((abs(word.contribution) for word in words), default=0)
    shown = printable(text)
    parts, end = [], 0
    for word in words:
        parts.append(shown[end : word.start])
        end = word.end
        level = round(len(_FOR) * abs(word.contribution) / strongest) if strongest else 0
        part = shown[word.start : end]
        if level:
            shade = (_FOR if word.contribution > 0 else _AGAINST)[level - 1]
            part = f"\033[38;5;16;48;5;{shade}m{part}\033[0m"
        parts.append(part)
    return "".join([*parts, shown[end:]])


def printable(text: str) -> str:
    """Returns the text on one line, with a space for each character that is not printable."""
    # A tab would start a column, a newline a line, and an escape sequence would control the terminal.
    return "".join(character if character.isprintable() else " " for character in text)
