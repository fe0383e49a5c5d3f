"""Finds where a text may be cut: between the characters that a person sees, each of one or more code points.

These characters are the grapheme clusters of UAX #29. Rules are left out that cannot matter to the edges of words and
of runs of characters: no such edge is within a Hangul syllable, or between the consonants of a script that has spaces
between words.
"""

import unicodedata

import numpy as np
from numpy.typing import NDArray

from textmodel import characters
from textmodel.characters import ALONE, EXTEND, SPACE, WORD

_ZERO_WIDTH_JOINER = 0x200D
_FOLLOWING = (0x0E33, 0x0EB3, 0xFF9E, 0xFF9F)
"""Letters that attach to the preceding one: Thai and Lao sara am, and the voicing marks of halfwidth katakana."""
_STACKING = (0x1039, 0x17D2)
"""Marks of Myanmar and Khmer that put the next consonant below the preceding one."""
_TAGS = (0xE0020, 0xE007F)
"""Tag characters, which follow a flag and name its region."""
_REGIONAL_INDICATORS = (0x1F1E6, 0x1F1FF)
"""Two of them are a flag."""


def cuts(text: str) -> NDArray[np.bool_]:
    """Tells whether a text may be cut at each position, (characters + 1,), from 0 to its end."""
    possible = np.ones(len(text) + 1, bool)
    if text.isascii():
        return possible
    codes = np.frombuffer(text.encode("utf-32-le"), "<u4").astype(np.int64)
    kinds = characters.table()[codes] >> characters.CLASS_SHIFT & characters.CLASS
    before, code, kind = codes[:-1], codes[1:], kinds[1:]
    is_tag, is_indicator = _within(codes, _TAGS), _within(codes, _REGIONAL_INDICATORS)
    joined = (kind == EXTEND) | np.isin(code, _FOLLOWING) | is_tag[1:]
    joined &= ~_are_controls(text, (kinds == SPACE) & ~is_tag)[:-1]
    joined |= np.isin(before, _STACKING) & (kind == WORD)
    joined |= (before == _ZERO_WIDTH_JOINER) & (kind == ALONE) & ~is_indicator[1:]
    joined |= _are_second(is_indicator)[1:]
    possible[1:-1] = ~joined
    return possible


def _within(codes: NDArray[np.int64], bounds: tuple[int, int]) -> NDArray[np.bool_]:
    first, last = bounds
    return (first <= codes) & (codes <= last)


def _are_controls(text: str, spaces: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tells which of the spaces cannot carry a mark: line breaks, controls and invisible characters."""
    controls = spaces.copy()
    controls[spaces] = [unicodedata.category(text[place]) != "Zs" for place in np.flatnonzero(spaces)]
    return controls


def _are_second(members: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tells which members are the second, the fourth and so on of their run."""
    place = np.arange(len(members))
    begin = np.maximum.accumulate(np.where(members, 0, place + 1))
    second: NDArray[np.bool_] = members & ((place - begin) % 2 == 1)
    return second
