"""The specification of the `keras` tokenization: how a text becomes words. Tests hold the faster forms to it.

It is the tokenization of the Keras data sets (`keras.preprocessing.text`): lower case, the filter characters become
spaces, split on the space alone. White space other than tab and newline does not separate words.

Lower case is `str.lower`, which handles the final sigma and the dotted capital I, restricted to Unicode 13. That is the
version in TensorFlow's ICU, so that an exported graph agrees with every Python from 3.11 on. See `NEWER_CHARACTERS`.
"""

import re
from collections.abc import Sequence

FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
"""The characters that separate words, in addition to the space: Keras's default `filters`."""

NEWER_CHARACTERS = (
    "\u0558\u058b-\u058c\u05c8-\u05c9\u0888\u0890-\u089f\u08c9-\u08d2\u0b53-\u0b54\u0c3c\u0ece\u1734\u180f"
    "\u1ac1-\u1af0\u1c89-\u1c8a\u1dfa\u208f\u209d-\u209f\u2c2f\u2c5f\ua7c0-\ua7c1\ua7cb-\ua7f4\uab6c-\uab6d\ufbc2"
    "\U00010570-\U000105bc\U00010780-\U000107bf\U00010d4e-\U00010d85\U00010ec5-\U00010eff\U00010f82-\U00010f85"
    "\U00011070\U00011073-\U00011074\U000110c2\U00011241\U000113bb-\U000113e2\U00011b60-\U00011b66"
    "\U00011dd9-\U00011df0\U00011f00-\U00011f5a\U00013439-\U00013455\U0001611e-\U0001612f\U00016d40-\U00016d6c"
    "\U00016ea0-\U00016ed3\U00016ff2-\U00016ff3\U0001aff0-\U0001affe\U0001cf00-\U0001cf46\U0001d127-\U0001d128"
    "\U0001d25b-\U0001d25c\U0001d6a6\U0001df00-\U0001df09\U0001df0b-\U0001dfff\U0001e030-\U0001e08f\U0001e2ae"
    "\U0001e4eb-\U0001e6ff"
)
"""Ranges, as in a regular expression, of the characters that Unicode 14 to 18 added and that have case or matter to the
case of their neighbours, with code points between them that Unicode 13 leaves unassigned, and U+1734, whose meaning
changed. Versions of Python differ in the lower case of these characters; here they have no case, and a word that
contains one is in no vocabulary."""

# NUL is among them because TensorFlow's Unicode lowering stops at it.
_WITHOUT_CASE = re.compile(f"[\0{NEWER_CHARACTERS}]")
# Ten times as fast as the pattern above. Most texts contain neither NUL nor a character above the first newer one.
_PERHAPS_WITHOUT_CASE = re.compile(f"[\0{NEWER_CHARACTERS[0]}-\U0010ffff]")

# A noncharacter of Unicode: it has no case, and no vocabulary contains it.
STAND_IN = "\uffff"
"""The replacement for NUL and the characters of `NEWER_CHARACTERS`."""

_WORD = re.compile(f"[^{re.escape(FILTERS)} ]+")

_TO_SPACE = str.maketrans(FILTERS, " " * len(FILTERS))


def lowercase(text: str) -> str:
    """Returns the text in lower case, with `STAND_IN` for each character that this specification gives no case."""
    if _PERHAPS_WITHOUT_CASE.search(text):
        text = _WITHOUT_CASE.sub(STAND_IN, text)
    return text.lower()


def separate(text: str) -> str:
    """Returns the text in lower case, with only spaces between the words."""
    return lowercase(text).translate(_TO_SPACE)


def tokenize(text: str) -> list[str]:
    """Returns the words of the text, in lower case, in order. A text without words gives an empty list."""
    return [word for word in separate(text).split(" ") if word]


def spans(text: str) -> list[tuple[int, int]]:
    """Returns the positions of the words of `tokenize` in the text: start and end of each, in code points."""
    # Lower case neither makes nor unmakes a character that separates words.
    return [word.span() for word in _WORD.finditer(text)]


def is_word(word: str) -> bool:
    """Tells whether a vocabulary can contain this word: it fits on a line of a file, and tokenization may produce it.

    Capitals are allowed: Keras's own indices contain words with capitals, which no text matches.
    """
    return bool(word) and not _NOT_IN_A_WORD.search(word)


def are_words(words: Sequence[str]) -> bool:
    """Tells whether a vocabulary can contain all of these words."""
    characters = set("".join(words))  # there are far fewer distinct characters than characters
    return all(words) and not _NOT_IN_A_WORD.search("".join(characters))


_NOT_IN_A_WORD = re.compile(f"[\0\r{STAND_IN}{re.escape(FILTERS)} {NEWER_CHARACTERS}]")
