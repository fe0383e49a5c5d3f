"""How the command shows texts on a terminal: no control characters, and words in colour for what they add."""

import os
from collections.abc import Iterable
from typing import TextIO

from text_classifier.results import WordContribution

# Backgrounds of the 256-colour palette, from pale to strong; the letters on them are black.
_FOR = (194, 157, 120, 82)
_AGAINST = (224, 217, 210, 203)


def coloured_output(output: TextIO) -> bool:
    """Tells whether to write colours: to a terminal that has them, unless the user wants none (no-color.org)."""
    return output.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def coloured(text: str, words: Iterable[WordContribution]) -> str:
    """Returns the text with its words in green if they speak for the label, in red if against it.

    The more a word adds beside the text's strongest, the stronger; words that add next to nothing stay as they are.
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
    """Returns the text on one line, with a space for each character that is none to be seen."""
    # A tab would begin a column, a newline a line, an escape sequence reach the terminal.
    return "".join(character if character.isprintable() else " " for character in text)
