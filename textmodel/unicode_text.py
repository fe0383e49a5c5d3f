"""The specification of the `unicode` tokenization, for text as people write it. Tests hold the faster forms to it.

1. A code point that Unicode 14 does not assign becomes U+FFFF.
2. The text is normalized to NFC, so that canonically equivalent texts become equal. Compatibility characters stay: NFKC
   would turn the single jamo that Koreans type ("ㅠㅠ", "ㅋㅋ") into other characters.
3. Each character becomes its lower case, one character for one, whatever its neighbours. A final sigma becomes a sigma.
4. White space, punctuation and symbols of all scripts separate words. A word is a run of letters, numbers, marks and
   joiners. Each emoji begins a word of its own. Apostrophes separate words too: on film reviews, sentences and
   questions, this is at least as accurate as keeping them (0.766 instead of 0.761 on sentence polarity).

`textmodel.characters` is the table of steps 1, 3 and 4.
"""

import unicodedata
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textmodel import characters
from textmodel.characters import ALONE, CONTEXT, EXTEND, SPACE, STAND_IN, WORD

UNSPACED = np.array(
    [
        *((0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3040, 0x30FF)),
        *((0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x20000, 0x3FFFF)),
    ]
)
"""First and last code point of the Unicode blocks of scripts without spaces between words: Thai, Lao, Tibetan, Myanmar,
Khmer, Han, Hiragana, Katakana. The tokenization takes a whole run of words as one word there."""


class Stream(NamedTuple):
    """The normalized characters of texts, one text after another. A run of white space is one space, and each text
    begins and ends with a space. A text without other characters is one space.
    """

    row: NDArray[np.int64]
    """(total,): the text of each character, in ascending order."""
    code: NDArray[np.int64]
    """(total,): its code point."""
    kind: NDArray[np.uint8]
    """(total,): its class."""
    position: NDArray[np.int64]
    """(total,): its position in the NFC text. A space has that of the first one of its run, or -1 before the text."""


def normalize(text: str) -> str:
    """Returns the text after step 2. If the text is in NFC already, the table does step 1 later."""
    if text.isascii() or unicodedata.is_normalized("NFC", text):
        return text
    codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
    entries = characters.table()[codes]
    assigned = np.where(entries & characters.CODE == STAND_IN, STAND_IN, codes)
    in_order = assigned.astype("<u4").tobytes().decode("utf-32-le")
    if _has_long_run(entries & CONTEXT != 0):
        in_order = _sort_marks(in_order)
    return unicodedata.normalize("NFC", in_order)


_LONG_RUN = 64


def _has_long_run(marks: NDArray[np.bool_]) -> bool:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marks, [False]])))
    return bool((edges[1::2] - edges[::2]).max(initial=0) > _LONG_RUN)


def _sort_marks(text: str) -> str:
    """Returns a canonically equivalent text with its marks in the order of their classes.

    On a run of marks in another order, `unicodedata.normalize` takes time that grows with the square of its length.
    """
    parts = "".join(unicodedata.normalize("NFD", character) for character in text)
    runs = groupby(parts, key=lambda part: unicodedata.combining(part) != 0)
    return "".join("".join(sorted(run, key=unicodedata.combining) if is_marks else run) for is_marks, run in runs)


def read(texts: Sequence[str]) -> Stream:
    """Returns the normalized characters of texts."""
    padded = [f" {normalize(text)} " for text in texts]
    lengths = np.array([len(text) for text in padded], np.int64)
    row = np.repeat(np.arange(len(padded)), lengths)
    entries = characters.table()[np.frombuffer("".join(padded).encode("utf-32-le"), "<u4")]
    kind = (entries >> characters.CLASS_SHIFT & characters.CLASS).astype(np.uint8)
    position = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths) - 1
    is_space = kind == SPACE
    repeated = np.zeros(len(row), bool)
    repeated[1:] = is_space[1:] & is_space[:-1] & (position[1:] >= 0)
    stays = ~repeated
    return Stream(row[stays], (entries[stays] & characters.CODE).astype(np.int64), kind[stays], position[stays])


def words(stream: Stream) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the positions in a stream at which words begin and end, (words,) each."""
    kind = stream.kind
    before = np.concatenate([[np.uint8(SPACE)], kind[:-1]])  # a space begins each text
    in_word = kind >= WORD
    begins = in_word & ((before < WORD) | (kind == ALONE) | (before == ALONE) & (kind != EXTEND))
    after = np.concatenate([begins[1:] | ~in_word[1:], [True]])
    return np.flatnonzero(begins), np.flatnonzero(in_word & after) + 1


def tokenize(text: str) -> list[str]:
    """Returns the words of the text, in order. A text without words gives an empty list."""
    stream = read([text])
    read_as = stream.code.astype("<u4").tobytes().decode("utf-32-le")
    return [read_as[begin:end] for begin, end in zip(*(edges.tolist() for edges in words(stream)), strict=True)]


def spans(text: str) -> list[tuple[int, int]]:
    """Returns the positions of the words of `tokenize` in the text: start and end of each, in code points."""
    stream = read([text])
    start, end = places(text)
    begins, ends = words(stream)
    return list(zip(start[stream.position[begins]].tolist(), end[stream.position[ends - 1]].tolist(), strict=True))


def places(text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the positions in the text that each character of the NFC text comes from: start and end, (characters,)
    each.

    If characters compose or change places, all of them come from the same run of the text.
    """
    if normalize(text) == text:
        place = np.arange(len(text))
        return place, place + 1
    codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
    own = np.flatnonzero(characters.table()[codes] & CONTEXT == 0)
    edges = np.unique(np.concatenate([[0], own, [len(text)]]))  # nothing composes across these
    runs = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    lengths = [len(normalize(text[start:end])) for start, end in runs]
    start, end = (np.repeat(np.array(edge, np.int64), lengths) for edge in zip(*runs, strict=True))
    return start, end


def is_unspaced(code: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tells which code points belong to scripts without spaces between words."""
    block = np.searchsorted(UNSPACED[:, 0], code, side="right") - 1
    unspaced: NDArray[np.bool_] = (block >= 0) & (code <= UNSPACED[np.maximum(block, 0), 1])
    return unspaced
