"""The specification of n-gram features: how word indices become a sparse vector. Tests hold the faster forms to it.

The feature of a word in the vocabulary is its index. Each n-gram of 2 to `orders` such words is hashed to one of
`buckets` buckets; its feature is `num_words + bucket`. The hash takes one step for each word, so that the hash of an
n-gram takes one step more than that of the n-gram without its last word.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textmodel.metadata import HashedNGrams, NGrams
from textmodel.vocabulary import FIRST_WORD

HASH_MULTIPLIER = 663_608_941
"""2^30 over the golden ratio, made odd. The other factor is below 2^33, so that no product reaches 2^63, and signed and
unsigned 64-bit integers agree."""
HASH_MASK = 0xFFFFFFFF
"""Keeps 32 bits of the product."""
HASH_SHIFT = 15
"""Mixes the high bits into the low ones, which select the bucket."""

TEXTS_AT_ONCE = 1024
"""Number of texts whose features are sorted together. A larger number takes more memory and is no faster."""


class Features(NamedTuple):
    """The distinct features of texts, in compressed sparse rows."""

    row_splits: NDArray[np.int64]
    """(texts + 1,): text i has the features from `row_splits[i]` up to, but not including, `row_splits[i + 1]`."""
    ids: NDArray[np.int32]
    """(total,): features, in ascending order within each text."""
    counts: NDArray[np.int32]
    """(total,): how often each feature occurs in the text."""


def features(vectorizer: NGrams, sequences: Sequence[NDArray[np.int32]]) -> Features:
    """Returns the features of texts.

    Args:
        sequences: each int32 (words + 1,), as `Vocabulary.indices` gives them: `START`, then a word's index below
            `num_words`, or `UNKNOWN`.
    """
    lengths, ids, counts = [np.zeros(1, np.int64)], [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    for first in range(0, len(sequences), TEXTS_AT_ONCE):
        some = sequences[first : first + TEXTS_AT_ONCE]
        rows = np.repeat(np.arange(len(some)), [len(sequence) for sequence in some])
        indices = np.concatenate(some).astype(np.int64)
        # START begins every text and is part of no feature, so that no window reaches from one text into the next.
        keys = [rows[at] * vectorizer.features + feature for at, feature in windows(vectorizer, indices)]
        distinct, times = np.unique(np.concatenate(keys), return_counts=True)
        lengths.append(np.bincount(distinct // vectorizer.features, minlength=len(some)))
        ids.append((distinct % vectorizer.features).astype(np.int32))
        counts.append(times.astype(np.int32))
    return Features(np.cumsum(np.concatenate(lengths)), np.concatenate(ids), np.concatenate(counts))


def windows(vectorizer: NGrams, indices: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yields the positions at which windows end, and their features: windows of one word, then of two, and so on.

    Args:
        vectorizer: the vectorizer.
        indices: int64, the indices of one or more texts in a row, each with `START` before its words.
    """
    held = indices >= FIRST_WORD
    ends = np.flatnonzero(held)
    yield ends, indices[ends]
    hashes = np.zeros_like(indices)
    hashes[ends] = step(0, indices[ends])
    for _ in range(1, vectorizer.orders):
        # A window ends here if a shorter one ends at the word before.
        held[1:] &= held[:-1].copy()
        held[:1] = False
        ends = np.flatnonzero(held)
        longer = np.zeros_like(hashes)
        longer[ends] = step(hashes[ends - 1], indices[ends])
        hashes = longer
        yield ends, vectorizer.num_words + (hashes[ends] & (vectorizer.buckets - 1))


def step(hashes: NDArray[np.int64] | int, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the hashes of windows that are extended by one item."""
    product = (hashes + indices) * HASH_MULTIPLIER & HASH_MASK
    return product ^ product >> HASH_SHIFT


def weigh(vectorizer: NGrams | HashedNGrams, features: Features, scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns each feature's component of its text's vector, (total,).

    Args:
        features: the result of `features`, or, for hashed n-grams, of `rows_of`.
        scale: (`vectorizer.features`,), or, for hashed n-grams, (`vectorizer.kept`,).
    """
    values = scale[features.ids]
    if vectorizer.counts == "log":
        values = values * (1 + np.log(features.counts, dtype=np.float32))
    if vectorizer.normalize:
        texts = len(features.row_splits) - 1
        rows = np.repeat(np.arange(texts), np.diff(features.row_splits))
        norms = np.sqrt(np.bincount(rows, np.square(values, dtype=np.float64), texts)).astype(np.float32)
        values = np.divide(values, norms[rows], out=np.zeros_like(values), where=norms[rows] > 0)
    return values
