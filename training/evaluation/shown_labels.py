"""Labels as figures and tables show them: short, without invisible characters, and different from each other."""

import re
from collections import Counter
from collections.abc import Sequence

MAX_CHARACTERS = 30
"""Maximum length of a label that is shown in full."""

# Those that Unicode ignores or that change the direction of what follows. The joiners are left: scripts need them.
_INVISIBLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def visible(text: str) -> str:
    """Returns the text with the code point in place of each invisible character: `<U+202E>`, which mirrors a text."""
    return _INVISIBLE.sub(lambda found: f"<U+{ord(found[0]):04X}>", text)


def shortened(labels: Sequence[str]) -> list[str]:
    """Returns the labels, visible and of a length that a figure has room for, each with its end cut off if it is
    longer.
    """
    return numbered(labels, [_cut(visible(label[: MAX_CHARACTERS + 1])) for label in labels])


def numbered(labels: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Returns the texts that stand for different labels; of equal ones, each with # and its number, from 1, before."""
    labels_of = Counter(text for text, _ in set(zip(texts, labels, strict=True)))
    return [f"#{number} {text}" if labels_of[text] > 1 else text for number, text in enumerate(texts, 1)]


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 1].rstrip() + "…"
