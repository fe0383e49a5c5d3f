"""Makes `textmodel/characters.safetensors` from Python's own Unicode data, if those are of the version that the file is
frozen at. A program, and what a test compares the file with.
"""

import sys
import unicodedata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from textmodel import characters
from textmodel.characters import ALONE, CONTEXT, EXTEND, PUNCTUATION, SPACE, STAND_IN, WORD

UNICODE = "14.0.0"
_JOINERS = (0x00AD, 0x200C, 0x200D)  # soft hyphen, and what joins or parts letters within a word
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_CLASS_OF_CATEGORY = {"L": WORD, "N": WORD, "M": EXTEND, "P": PUNCTUATION, "S": PUNCTUATION, "Z": SPACE, "C": SPACE}


def table() -> NDArray[np.uint32]:
    """What `characters.table` has to return."""
    assert unicodedata.unidata_version == UNICODE
    composing = _composing()
    return np.array([_entry(code, composing) for code in range(sys.maxunicode + 1)], np.uint32)


def _entry(code: int, composing: set[str]) -> int:
    character, category = chr(code), unicodedata.category(chr(code))
    if category in ("Cn", "Cs"):
        return WORD << characters.CLASS_SHIFT | STAND_IN
    read_as = code
    if category == "So":
        kind = ALONE
    elif code in _JOINERS or code in _SKIN_TONES:
        kind = EXTEND
    elif category == "Co":
        kind = WORD
    else:
        kind = _CLASS_OF_CATEGORY[category[0]]
    if kind == SPACE:
        read_as = ord(" ")
    elif code == 0x130:  # its lower case is two characters
        read_as = ord("i")
    elif character == "ς":
        read_as = ord("σ")
    else:
        read_as = ord(character.lower())
    normal = unicodedata.normalize("NFC", character) == character
    context = unicodedata.combining(character) or not normal or character in composing
    return (CONTEXT if context else 0) | kind << characters.CLASS_SHIFT | read_as


def _composing() -> set[str]:
    """Characters that may compose with what is before them."""
    found = {chr(code) for code in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))}  # Hangul vowels and finals
    for code in range(sys.maxunicode + 1):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<") and unicodedata.normalize("NFC", chr(code)) == chr(code):
            found.add(chr(int(parts[1], 16)))
    return found


def write(path: Path) -> None:
    """Writes the table as runs of characters that are read alike."""
    entries = table()
    stands_in = entries & characters.CODE == STAND_IN
    offsets = np.where(stands_in, 0, (entries & characters.CODE).astype(np.int64) - np.arange(len(entries)))
    offsets[entries >> characters.CLASS_SHIFT & characters.CLASS == SPACE] = 0
    flags = entries >> characters.CLASS_SHIFT
    flags[stands_in] = characters.UNASSIGNED
    changes = np.flatnonzero((np.diff(offsets) != 0) | (np.diff(flags.astype(np.int64)) != 0)) + 1
    first = np.concatenate([[0], changes])
    save_file(
        {
            "first": first.astype(np.int32),
            "offset": offsets[first].astype(np.int32),
            "flags": flags[first].astype(np.uint8),
        },
        path,
    )


if __name__ == "__main__":
    write(characters.FILE)
