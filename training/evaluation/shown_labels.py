"""Labels as figures and tables show them: short, without invisible characters, and distinct."""

import re
from collections import Counter
from collections.abc import Sequence

MAX_CHARACTERS = 30
"""Maximum length of a label that is shown in full."""

# Characters that are not drawn or that change the direction of the text. The joiners are kept, since scripts need them.
_INVISIBLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def visible(text: str) -> str:
    """Returns the text with each invisible character replaced by its code point, such as `<U+202E>`."""
    return _INVISIBLE.sub(lambda found: f"<U+{ord(found[0]):04X}>", text)


def shortened(labels: Sequence[str]) -> list[str]:
    """Returns the labels, distinct, visible, and cut to the length that a figure has room for."""
    return numbered(labels, [_cut(visible(label[: MAX_CHARACTERS + 1])) for label in labels])


def numbered(labels: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Returns the texts that stand for labels. Equal texts of different labels get the prefix # with their number."""
    labels_of = Counter(text for text, _ in set(zip(texts, labels, strict=True)))
    return [f"#{number} {text}" if labels_of[text] > 1 else text for number, text in enumerate(texts, 1)]


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 1].rstrip() + "…"
