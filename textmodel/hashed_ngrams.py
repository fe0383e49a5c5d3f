"""The specification of hashed n-grams: how a text becomes a sparse vector without a vocabulary. Every faster form is
held to this one.

The text is read as `textmodel.unicode_text` reads it. A hash begins with a seed and takes one step for each item:

- an n-gram of characters: 0, and its characters. Across words it is any run of the stream, within words one that holds
  no space but at its first and last place: as scikit-learn's `char` and `char_wb`. The space alone is none.
- a word: `WORD_SEED`, and its first `MAX_WORD` characters.
- an n-gram of two or more words: 0, and the hashes of its words.

An n-gram is in the bucket that the lowest bits of its hash say.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textmodel import unicode_text
from textmodel.characters import SPACE
from textmodel.metadata import HashedNGrams
from textmodel.ngrams import TEXTS_AT_ONCE, Features, step
from textmodel.unicode_text import Stream

WORD_SEED = 0x9E3779B9
"""Keeps a word and the n-gram of its characters apart. 2^32 over the golden ratio."""
MAX_WORD = 64
"""Characters of a word that its hash heeds."""


class NGrams(NamedTuple):
    """The n-grams of one length in a stream."""

    start: NDArray[np.int64]
    """(total,): where each starts in the stream."""
    end: NDArray[np.int64]
    """(total,): where it ends."""
    bucket: NDArray[np.int64]
    """(total,)"""


class WordCounts(NamedTuple):
    """How many words texts have."""

    words: NDArray[np.int32]
    """(texts,)"""
    known: NDArray[np.int32]
    """(texts,): words of which a feature is kept: the word itself, or, without n-grams of words, an n-gram of
    characters that ends in the word."""


def features(vectorizer: HashedNGrams, texts: Sequence[str]) -> Features:
    """Returns the features of texts: buckets, kept or not, and how often a text has an n-gram in each."""
    lengths, ids, counts = [np.zeros(1, np.int64)], [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    for first in range(0, len(texts), TEXTS_AT_ONCE):
        some = texts[first : first + TEXTS_AT_ONCE]
        stream = unicode_text.read(some)
        keys = [stream.row[grams.start] * vectorizer.buckets + grams.bucket for grams in ngrams(vectorizer, stream)]
        distinct, times = np.unique(np.concatenate(keys), return_counts=True)
        lengths.append(np.bincount(distinct // vectorizer.buckets, minlength=len(some)))
        ids.append((distinct % vectorizer.buckets).astype(np.int32))
        counts.append(times.astype(np.int32))
    return Features(np.cumsum(np.concatenate(lengths)), np.concatenate(ids), np.concatenate(counts))


def rows_of(features: Features, kept: NDArray[np.integer]) -> Features:
    """Returns the features that are kept, as their rows.

    Args:
        features: buckets, as `features` gives them.
        kept: (rows,): the bucket of each row, rising.
    """
    row = np.searchsorted(kept, features.ids)
    held = kept[np.minimum(row, len(kept) - 1)] == features.ids if len(kept) else np.zeros(len(row), bool)
    row_splits = np.concatenate([[0], np.cumsum(held)])[features.row_splits]
    return Features(row_splits, row[held].astype(np.int32), features.counts[held])


def count_words(vectorizer: HashedNGrams, texts: Sequence[str], kept: NDArray[np.integer]) -> WordCounts:
    """Returns how many words texts have, and how many are known.

    Args:
        kept: (rows,): the bucket of each row, rising.
    """
    stream = unicode_text.read(texts)
    begins, ends = unicode_text.words(stream)
    is_kept = np.zeros(vectorizer.buckets, bool)
    is_kept[kept] = True
    if vectorizer.words:
        known = is_kept[next(word_ngrams(vectorizer, stream)).bucket]
    else:
        last = np.zeros(len(stream.row) + 1, np.int64)
        for grams in ngrams(vectorizer, stream):
            last[grams.end[is_kept[grams.bucket]]] = 1
        upto = np.cumsum(last)
        known = upto[ends] > upto[begins]
    row = stream.row[begins]
    return WordCounts(
        np.bincount(row, minlength=len(texts)).astype(np.int32),
        np.bincount(row[known], minlength=len(texts)).astype(np.int32),
    )


def ngrams(vectorizer: HashedNGrams, stream: Stream) -> Iterator[NGrams]:
    """Yields the n-grams of a stream, one length after another: of words, then of characters."""
    if vectorizer.words:
        yield from word_ngrams(vectorizer, stream)
    if vectorizer.characters is not None:
        yield from character_ngrams(vectorizer, stream)


def character_ngrams(vectorizer: HashedNGrams, stream: Stream) -> Iterator[NGrams]:
    """Yields the n-grams of characters, one length after another."""
    characters = vectorizer.characters
    assert characters is not None
    is_space = stream.kind == SPACE
    spaces = np.concatenate([[0], np.cumsum(is_space)])  # before each place
    hashes = np.zeros(len(stream.code), np.int64)
    for order in range(1, characters.max + 1):
        last = stream.code[order - 1 :]
        hashes = step(hashes[: len(last)], last)
        if order < characters.min:
            continue
        start = np.arange(len(hashes))
        if order == 1:
            held = ~is_space
        else:
            held = stream.row[start] == stream.row[start + order - 1]
            if not characters.across_words:
                held &= spaces[start + order - 1] == spaces[start + 1]
        start = start[held]
        yield NGrams(start, start + order, hashes[held] & (vectorizer.buckets - 1))


def word_ngrams(vectorizer: HashedNGrams, stream: Stream) -> Iterator[NGrams]:
    """Yields the n-grams of words, from those of one word on."""
    begins, ends = unicode_text.words(stream)
    words = np.full(len(begins), WORD_SEED, np.int64)
    lengths = np.minimum(ends - begins, MAX_WORD)
    for place in range(int(lengths.max(initial=0))):
        longer = np.flatnonzero(lengths > place)
        words[longer] = step(words[longer], stream.code[begins[longer] + place])
    yield NGrams(begins, ends, words & (vectorizer.buckets - 1))
    hashes = step(0, words)
    for order in range(2, vectorizer.words + 1):
        # Each is named by the word that it begins with.
        last = words[order - 1 :]
        hashes = step(hashes[: len(last)], last)
        start, end = begins[: len(hashes)], ends[order - 1 :]
        held = stream.row[start] == stream.row[end - 1]
        yield NGrams(start[held], end[held], hashes[held] & (vectorizer.buckets - 1))
