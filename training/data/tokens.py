"""Splits many texts into words at once, by the `unicode` tokenization. This is far faster than one by one."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from textmodel import unicode_text


def tokenize_all(texts: Sequence[str]) -> list[list[str]]:
    """Returns the words of each text, as `textmodel.unicode_text.tokenize` gives them."""
    stream = unicode_text.read(texts)
    begins, ends = unicode_text.words(stream)
    characters = stream.code.astype("<u4").tobytes().decode("utf-32-le", errors="replace")
    words = [characters[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
    splits = np.searchsorted(stream.row[begins], np.arange(len(texts) + 1))
    return [words[begin:end] for begin, end in pairwise(splits.tolist())]


def is_visible(text: str) -> bool:
    """Tells whether the `unicode` tokenization reads more of a text than white space."""
    return len(unicode_text.read([text]).code) > 1
