"""The specification of hashed n-grams: how a text becomes a sparse vector without a vocabulary. Tests hold the faster
forms to it.

The text is read as `textmodel.unicode_text` reads it. A hash starts with a seed and takes one step for each item:

- an n-gram of characters: the seed 0, and its characters. Across words, it is any run of the stream. Within words, it
  contains a space only at its first and last position. These are scikit-learn's `char` and `char_wb`. The space alone
  is not an n-gram.
- a word: the seed `WORD_SEED`, and its first `MAX_WORD` characters.
- an n-gram of two or more words: the seed 0, and the hashes of its words.

The lowest bits of an n-gram's hash are the number of its bucket.

Besides the features, an array of bits records which words a model knows. The lowest bits of a word's hash are the
number of its bit; the word is known if that bit is set. A word with characters of a script without spaces is a run of
words. It is also known if the bits of more than half of its pairs of neighbouring characters are set; a pair is hashed
as an n-gram of two characters. An unknown word counts as known with a small probability: see `word_bits`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textmodel import unicode_text
from textmodel.batches import bounded_batches
from textmodel.characters import SPACE
from textmodel.metadata import HashedNGrams
from textmodel.ngrams import TEXTS_AT_ONCE, Features, step
from textmodel.unicode_text import Stream

WORD_SEED = 0x9E3779B9
"""Gives a word another hash than the n-gram of its characters. It is 2^32 over the golden ratio."""
MAX_WORD = 64
"""Number of characters of a word that its hash depends on."""
CHARACTERS_AT_ONCE = 1 << 19
"""Number of characters whose n-grams are sorted together. Twice as many take a third more CPU time, and more memory."""
_BITS_PER_WORD = 16
_MAX_WORD_BITS = 1 << 24


class StreamNGrams(NamedTuple):
    """The n-grams of one length in a stream."""

    start: NDArray[np.int64]
    """(total,): the position in the stream at which each n-gram starts."""
    end: NDArray[np.int64]
    """(total,): the position at which it ends."""
    bucket: NDArray[np.int64]
    """(total,)"""


class KnownHashes(NamedTuple):
    """What a model may know of texts: the hashes of their words, and of the pairs of characters in runs of words."""

    row: NDArray[np.int64]
    """(total,): the text of each hash."""
    hash: NDArray[np.int64]
    """(total,): 32 bits."""


class WordCounts(NamedTuple):
    """The numbers of words in texts."""

    words: NDArray[np.int32]
    """(texts,): all words."""
    known: NDArray[np.int32]
    """(texts,): known words."""


def features(vectorizer: HashedNGrams, texts: Sequence[str]) -> Features:
    """Returns the features of texts: buckets, kept or not, each with its number of n-grams in the text."""
    lengths, ids, counts = [np.zeros(1, np.int64)], [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    for some in blocks(texts):
        stream = unicode_text.read(some)
        keys = [stream.row[grams.start] * vectorizer.buckets + grams.bucket for grams in ngrams(vectorizer, stream)]
        distinct, times = np.unique(np.concatenate(keys), return_counts=True)
        lengths.append(np.bincount(distinct // vectorizer.buckets, minlength=len(some)))
        ids.append((distinct % vectorizer.buckets).astype(np.int32))
        counts.append(times.astype(np.int32))
    return Features(np.cumsum(np.concatenate(lengths)), np.concatenate(ids), np.concatenate(counts))


def blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yields the texts in blocks that are small enough to be read together."""
    return bounded_batches(texts, len, max_items=TEXTS_AT_ONCE, max_characters=CHARACTERS_AT_ONCE)


def rows_of(features: Features, kept: NDArray[np.integer]) -> Features:
    """Returns the kept features, with rows in place of buckets.

    Args:
        features: the result of `features`.
        kept: (rows,): the bucket of each row, in ascending order.
    """
    row = np.searchsorted(kept, features.ids)
    held = kept[np.minimum(row, len(kept) - 1)] == features.ids if len(kept) else np.zeros(len(row), bool)
    row_splits = np.concatenate([[0], np.cumsum(held)])[features.row_splits]
    return Features(row_splits, row[held].astype(np.int32), features.counts[held])


def known_hashes(texts: Sequence[str], *, characters: bool) -> KnownHashes:
    """Returns the hashes of what a model knows after training.

    Args:
        texts: the training texts.
        characters: whether the model has n-grams of characters. Without them, it knows only whole words, not the pairs
            of characters in scripts without spaces.
    """
    stream = unicode_text.read(texts)
    begins, ends = unicode_text.words(stream)
    if not characters:
        return KnownHashes(stream.row[begins], _word_hashes(stream, begins, ends))
    runs = _are_runs(stream, begins, ends)
    inside = np.zeros(len(stream.code) + 1, np.int64)  # where a pair of a run starts: not at the run's last character
    np.add.at(inside, begins[runs], 1)
    np.add.at(inside, ends[runs] - 1, -1)
    pairs = np.flatnonzero(np.cumsum(inside))
    return KnownHashes(
        np.concatenate([stream.row[begins], stream.row[pairs]]),
        np.concatenate([_word_hashes(stream, begins, ends), _pair_hashes(stream)[pairs]]),
    )


def word_bits(hashes: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Returns the bits of what a model knows, uint8 (bits / 8,), lowest bit first.

    Their number is a power of two. At most one bit in `_BITS_PER_WORD` is set, so that at most this share of unknown
    words counts as known. For more than a million hashes, the share is higher.

    Args:
        hashes: (known,), distinct hashes of `known_hashes`.
    """
    wanted = max(8, min(_BITS_PER_WORD * len(hashes), _MAX_WORD_BITS))
    bits = np.zeros(1 << (wanted - 1).bit_length(), np.uint8)
    bits[hashes & (len(bits) - 1)] = 1
    return np.packbits(bits, bitorder="little")


def known_words(stream: Stream, bits: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tells whether each word of a stream is known, (words,).

    Args:
        stream: the texts.
        bits: the result of `word_bits`.
    """
    begins, ends = unicode_text.words(stream)
    upto = np.concatenate([[0], np.cumsum(_are_set(_pair_hashes(stream), bits))])
    has_known_pairs = 2 * (upto[ends - 1] - upto[begins]) > ends - 1 - begins
    known: NDArray[np.bool_] = _are_set(_word_hashes(stream, begins, ends), bits) | (
        has_known_pairs & _are_runs(stream, begins, ends)
    )
    return known


def count_words(texts: Sequence[str], bits: NDArray[np.uint8]) -> WordCounts:
    """Returns the number of words in each text, and of known words."""
    stream = unicode_text.read(texts)
    row = stream.row[unicode_text.words(stream)[0]]
    known = row[known_words(stream, bits)]
    return WordCounts(*(np.bincount(rows, minlength=len(texts)).astype(np.int32) for rows in (row, known)))


def ngrams(vectorizer: HashedNGrams, stream: Stream) -> Iterator[StreamNGrams]:
    """Yields the n-grams of a stream, one length after another: first those of words, then those of characters."""
    if vectorizer.words:
        yield from word_ngrams(vectorizer, stream)
    if vectorizer.characters is not None:
        yield from character_ngrams(vectorizer, stream)


def character_ngrams(vectorizer: HashedNGrams, stream: Stream) -> Iterator[StreamNGrams]:
    """Yields the n-grams of characters, one length after another."""
    characters = vectorizer.characters
    assert characters is not None
    is_space = stream.kind == SPACE
    spaces = np.concatenate([[0], np.cumsum(is_space)])  # number of spaces before each position
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
        yield StreamNGrams(start, start + order, hashes[held] & (vectorizer.buckets - 1))


def word_ngrams(vectorizer: HashedNGrams, stream: Stream) -> Iterator[StreamNGrams]:
    """Yields the n-grams of words, one length after another."""
    begins, ends = unicode_text.words(stream)
    words = _word_hashes(stream, begins, ends)
    yield StreamNGrams(begins, ends, words & (vectorizer.buckets - 1))
    hashes = step(0, words)
    for order in range(2, vectorizer.words + 1):
        # An n-gram has the position of its first word.
        last = words[order - 1 :]
        hashes = step(hashes[: len(last)], last)
        start, end = begins[: len(hashes)], ends[order - 1 :]
        held = stream.row[start] == stream.row[end - 1]
        yield StreamNGrams(start[held], end[held], hashes[held] & (vectorizer.buckets - 1))


def _word_hashes(stream: Stream, begins: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    words = np.full(len(begins), WORD_SEED, np.int64)
    lengths = np.minimum(ends - begins, MAX_WORD)
    for place in range(int(lengths.max(initial=0))):
        longer = np.flatnonzero(lengths > place)
        words[longer] = step(words[longer], stream.code[begins[longer] + place])
    return words


def _pair_hashes(stream: Stream) -> NDArray[np.int64]:
    """Returns the hash of each pair of neighbouring characters, (total - 1,)."""
    return step(step(0, stream.code[:-1]), stream.code[1:])


def _are_runs(stream: Stream, begins: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tells which words contain a character of a script without spaces."""
    upto = np.concatenate([[0], np.cumsum(unicode_text.is_unspaced(stream.code))])
    runs: NDArray[np.bool_] = upto[ends] > upto[begins]
    return runs


def _are_set(hashes: NDArray[np.int64], bits: NDArray[np.uint8]) -> NDArray[np.bool_]:
    bit = hashes & (8 * len(bits) - 1)
    known: NDArray[np.bool_] = (bits[bit >> 3] >> (bit & 7) & 1).astype(np.bool_)
    return known
