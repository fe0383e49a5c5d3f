"""The table of characters of the `unicode` tokenization: the normalized form and the class of each character.

It is frozen at Unicode 14, the version of the oldest Python that this package supports, and is the same in every
Python. Code points that Unicode 14 does not assign become `STAND_IN`.
"""

import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

FILE = Path(__file__).with_name("characters.safetensors")
"""Runs of characters with the same rule: the first character, the offset to the normalized character, and the flags."""

STAND_IN = 0xFFFF
"""A noncharacter of Unicode."""

CODE = 0x1FFFFF
"""The bits of an entry that hold the normalized code point: the lower case, or the space."""
CLASS_SHIFT = 24
CLASS = 7
"""The bits of the class, after a shift down by `CLASS_SHIFT`."""
CONTEXT = 1 << 31
"""The bit of a character that canonical composition (NFC) may change or move, next to some neighbours."""

SPACE = 0
"""White space, control characters and invisible format characters: they become the space."""
PUNCTUATION = 1
"""Punctuation and symbols: they separate words."""
WORD = 2
"""Letters and numbers."""
EXTEND = 3
"""Combining marks, joiners and skin tones: they belong to the preceding word."""
ALONE = 4
"""Emoji and other pictures: each begins a word."""
UNASSIGNED = 5
"""Code points that Unicode 14 does not assign. Only the file has this class; `table` has `WORD` and `STAND_IN`."""


@cache
def runs() -> dict[str, NDArray[np.integer[Any]]]:
    """Returns the runs of characters with the same rule: `first`, `offset` and `flags`, (runs,) each. The flags are the
    class and the bit `CONTEXT`, both shifted down by `CLASS_SHIFT`.
    """
    return load_file(FILE)


@cache
def table() -> NDArray[np.uint32]:
    """Returns the entry of each code point, (0x110000,)."""
    lengths = np.diff(runs()["first"], append=sys.maxunicode + 1)
    flags = np.repeat(runs()["flags"], lengths).astype(np.uint32)
    codes = np.arange(sys.maxunicode + 1, dtype=np.uint32)
    codes += np.repeat(runs()["offset"], lengths).astype(np.uint32)
    kinds = flags & CLASS
    codes[kinds == SPACE] = ord(" ")
    codes[kinds == UNASSIGNED] = STAND_IN
    flags[kinds == UNASSIGNED] = WORD
    return flags << np.uint32(CLASS_SHIFT) | codes
