"""Canonical equivalence of Unicode 14 (https://www.unicode.org/reports/tr15/) as tables, for the C and TensorFlow forms
of the `unicode` tokenization. Hangul syllables are not in the tables: arithmetic composes them.
"""

import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textmodel import characters
from textmodel.characters import CODE, CONTEXT, STAND_IN

MAX_PARTS = 4
"""Maximum number of characters in a decomposition."""


class Composition(NamedTuple):
    """The tables. Their rows are in ascending order."""

    decompositions: NDArray[np.int32]
    """(characters, 2 + MAX_PARTS): a character, the number of its parts in full decomposition, and the parts."""
    marks: NDArray[np.int32]
    """(marks, 2): a character with a nonzero combining class, and that class."""
    pairs: NDArray[np.int32]
    """(pairs, 3): two characters and their composite."""


@cache
def composition() -> Composition:
    """Returns the tables."""
    decompositions, pairs = [], []
    for code in _decomposable():
        decomposition = unicodedata.decomposition(chr(code))
        if not decomposition or decomposition.startswith("<"):
            continue
        parts = [ord(part) for part in unicodedata.normalize("NFD", chr(code))]
        decompositions.append((code, len(parts), *parts, *[0] * (MAX_PARTS - len(parts))))
        direct = [int(part, 16) for part in decomposition.split()]
        if len(direct) == 2 and unicodedata.normalize("NFC", chr(code)) == chr(code):
            pairs.append((*direct, code))
    candidates = map(int, np.flatnonzero(characters.table() & CONTEXT != 0))
    marks = [(code, unicodedata.combining(chr(code))) for code in candidates if unicodedata.combining(chr(code))]
    return Composition(np.array(decompositions, np.int32), np.array(marks, np.int32), np.array(sorted(pairs), np.int32))


_BLOCK = 64
"""Number of code points that are checked at once: most blocks of Unicode have no decompositions."""


def _decomposable() -> Iterator[int]:
    """Yields the characters that a decomposition may change, and some others, in ascending order."""
    # A newer Python also knows characters that Unicode 14 does not assign: they are left out.
    codes = np.flatnonzero(characters.table() & CODE != STAND_IN)
    text = codes.astype("<u4").tobytes().decode("utf-32-le")
    for start in range(0, len(text), _BLOCK):
        block = text[start : start + _BLOCK]
        if not unicodedata.is_normalized("NFD", block):
            yield from map(ord, block)
