"""What the `unicode` tokenization reads each character as, and its class: a table, the same for every Python.

It is frozen at Unicode 14, the version of the oldest Python that this package runs on. A code point that Unicode 14
does not assign is read as `STAND_IN`.
"""

import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

FILE = Path(__file__).with_name("characters.safetensors")
"""Runs of characters that are read alike: the first of each, its offset to what it is read as, and its flags."""

STAND_IN = 0xFFFF
"""A noncharacter of Unicode."""

CODE = 0x1FFFFF
"""The bits of an entry that are the code point which the character is read as: its lower case, or the space."""
CLASS_SHIFT = 24
CLASS = 7
"""The bits above `CLASS_SHIFT` that are the class."""
CONTEXT = 1 << 31
"""The bit of a character that canonical composition (NFC) may change or move, whatever its neighbours are."""

SPACE = 0
"""White space, control characters and invisible marks of format: read as the space."""
PUNCTUATION = 1
"""Punctuation and symbols: they part words and belong to none."""
WORD = 2
"""Letters and numbers."""
EXTEND = 3
"""Combining marks, joiners and skin tones: they belong to the word before them."""
ALONE = 4
"""Emoji and other pictures: each begins a word."""
UNASSIGNED = 5
"""In the file: `WORD`, and read as `STAND_IN`."""


@cache
def runs() -> dict[str, NDArray[np.integer[Any]]]:
    """Returns the runs of characters that are read alike: `first`, `offset` and `flags`, (runs,) each. A flag is the
    class, and the bit of `CONTEXT`, shifted down as that is.
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
