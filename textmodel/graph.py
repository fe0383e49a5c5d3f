"""Tokenization and n-gram features in TensorFlow ops, for the exported graph.

For every Unicode string and in every locale, they give the indices of `Vocabulary.indices`, and the features of
`textmodel.ngrams` and `textmodel.hashed_ngrams`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from textmodel import unicode_graph
from textmodel.characters import SPACE
from textmodel.hashed_ngrams import MAX_WORD, WORD_SEED
from textmodel.metadata import HashedNGrams, NGrams, Tokenization
from textmodel.ngrams import HASH_MASK, HASH_MULTIPLIER, HASH_SHIFT
from textmodel.tokenization import FILTERS, STAND_IN
from textmodel.unicode_graph import GraphStream
from textmodel.unicode_text import UNSPACED
from textmodel.vocabulary import FIRST_WORD, UNKNOWN

# The lower case of ICU depends on the locale of the process: in a Turkish locale I becomes a dotless i, in a Lithuanian
# one an accented I keeps its dot. So these are lowered before ICU. TensorFlow's lowering stops at NUL, and Unicode 14
# changed how U+1734 affects its neighbours: the specification reads both as the stand-in.
_BEFORE_ICU = {"İ": "i\u0307", "Ì": "ì", "Í": "í", "Ĩ": "ĩ", "Į": "į", "\0": STAND_IN, "\u1734": STAND_IN}


class Words(NamedTuple):
    """The words of a batch of texts, one after another."""

    row: tf.Tensor
    """int64 (total,): the text of each word, in ascending order."""
    index: tf.Tensor
    """int64 (total,): the word's index in the vocabulary, or `UNKNOWN`."""

    def count(self, batch: tf.Tensor) -> tf.Tensor:
        """Returns the number of words in each text, int32 (batch,)."""
        return tf.math.unsorted_segment_sum(tf.ones_like(self.row, tf.int32), self.row, batch)

    def count_known(self, batch: tf.Tensor) -> tf.Tensor:
        """Returns the number of words in each text that are in the vocabulary, int32 (batch,)."""
        known = tf.cast(tf.not_equal(self.index, UNKNOWN), tf.int32)
        return tf.math.unsorted_segment_sum(known, self.row, batch)


class Tokenizer(tf.Module):
    """Tokenizes in a graph. The vocabulary is an asset of the SavedModel.

    Args:
        vocabulary_file: the file that `Vocabulary.write` wrote. The export copies it into the SavedModel.
        tokenization: how texts become words.
    """

    def __init__(self, vocabulary_file: Path, tokenization: Tokenization = "keras") -> None:
        super().__init__()
        self._tokenize = unicode_graph.tokenize if tokenization == "unicode" else tokenize
        self._table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                str(vocabulary_file),
                key_dtype=tf.string,
                key_index=tf.lookup.TextFileIndex.WHOLE_LINE,
                value_dtype=tf.int64,
                value_index=tf.lookup.TextFileIndex.LINE_NUMBER,
            ),
            default_value=UNKNOWN,
            experimental_is_anonymous=True,  # otherwise tables of files with the same path share one table
        )

    def __call__(self, text: tf.Tensor) -> Words:
        """Tokenizes string (batch,), UTF-8."""
        row, word = self._tokenize(text)
        return Words(row, self._table.lookup(word))


def tokenize(text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Splits texts, UTF-8 string (batch,), into words by the `keras` tokenization. Returns the text of each word, int64
    (total,), and the words, string (total,).

    A word with a character of `NEWER_CHARACTERS` is not lowered as in the specification, but neither form is in any
    vocabulary.
    """
    text = tf.strings.lower(text)
    for before, after in _BEFORE_ICU.items():
        text = tf.strings.regex_replace(text, before, after)
    text = tf.strings.lower(text, encoding="utf-8")
    split = tf.raw_ops.StringSplit(input=text, delimiter=f"{FILTERS} ", skip_empty=True)
    return split.indices[:, 0], split.values


class GraphFeatures(NamedTuple):
    """The distinct features of a batch of texts, in no particular order."""

    row: tf.Tensor
    """int64 (total,): the text of each feature."""
    feature: tf.Tensor
    """int64 (total,)"""
    count: tf.Tensor
    """int64 (total,): how often the feature occurs in the text."""


def features(vectorizer: NGrams, words: Words) -> GraphFeatures:
    """Returns the features of a batch, as `ngrams.features` does."""
    keys = [row * vectorizer.features + feature for row, feature in _windows(vectorizer, words)]
    key, _, count = tf.unique_with_counts(tf.concat(keys, 0), tf.int64)
    return GraphFeatures(key // vectorizer.features, key % vectorizer.features, count)


def _windows(vectorizer: NGrams, words: Words) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Yields the texts and the features of the windows of one word, then of two, and so on."""
    known = words.index >= FIRST_WORD
    held = known
    hashes = _step(tf.zeros_like(words.index), words.index)
    yield tf.boolean_mask(words.row, held), tf.boolean_mask(words.index, held)
    for order in range(1, vectorizer.orders):
        # A window has the position of its first word. The last window of the shorter ones cannot be extended.
        held = held[:-1] & known[order:] & (words.row[:-order] == words.row[order:])
        hashes = _step(hashes[:-1], words.index[order:])
        buckets = tf.bitwise.bitwise_and(tf.boolean_mask(hashes, held), vectorizer.buckets - 1)
        yield tf.boolean_mask(words.row[order:], held), vectorizer.num_words + buckets


def _step(hashes: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """Returns the hashes of windows that are extended by one word."""
    product = tf.bitwise.bitwise_and((hashes + indices) * HASH_MULTIPLIER, HASH_MASK)
    return tf.bitwise.bitwise_xor(product, tf.bitwise.right_shift(product, HASH_SHIFT))


class Components(NamedTuple):
    """The nonzero components of a batch of sparse vectors."""

    row: tf.Tensor
    """int64 (total,): the vector of each component."""
    feature: tf.Tensor
    """int64 (total,): its position in the vector."""
    value: tf.Tensor
    """float32 (total,)"""

    def matmul(self, kernel: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
        """Returns the vectors times a kernel, float32 (batch, units).

        Args:
            kernel: float32 or float16 (features, units).
            batch: number of vectors.
        """
        rows = tf.cast(tf.gather(kernel, self.feature), tf.float32)
        return tf.math.unsorted_segment_sum(self.value[:, tf.newaxis] * rows, self.row, batch)


class NGramVectorizer(tf.Module):
    """Turns words into sparse vectors in a graph.

    It must be the attribute `features` of the exported module, so that the checkpoint's key is `features/scale`.

    Args:
        vectorizer: the vectorizer, as in the metadata.
        scale: (`vectorizer.features`,), float32 or float16.
    """

    def __init__(self, vectorizer: NGrams, scale: NDArray[np.floating[Any]]) -> None:
        super().__init__()
        self.scale = tf.Variable(scale)
        self._vectorizer = vectorizer

    def __call__(self, words: Words, batch: tf.Tensor) -> Components:
        """Vectorizes the words of `batch` texts."""
        return _weigh(self._vectorizer, features(self._vectorizer, words), self.scale, batch)


def _weigh(
    vectorizer: NGrams | HashedNGrams, features: GraphFeatures, scale: tf.Tensor, batch: tf.Tensor
) -> Components:
    """Returns the components of the texts' vectors, as `ngrams.weigh` does."""
    row, feature, count = features
    value = tf.cast(tf.gather(scale, feature), tf.float32)
    if vectorizer.counts == "log":
        value *= 1 + tf.math.log(tf.cast(count, tf.float32))
    if vectorizer.normalize:
        norm = tf.sqrt(tf.math.unsorted_segment_sum(tf.square(value), row, batch))
        value = tf.math.divide_no_nan(value, tf.gather(norm, row))
    return Components(row, feature, value)


class HashedVectors(NamedTuple):
    """The vectors of a batch of texts by hashed n-grams, and the numbers of their words."""

    components: Components
    words: tf.Tensor
    """int32 (batch,): number of words in each text."""
    known_words: tf.Tensor
    """int32 (batch,): number of known words in each text: see `hashed_ngrams.known_words`."""


class HashedNGramVectorizer(tf.Module):
    """Turns texts into sparse vectors in a graph, as `textmodel.hashed_ngrams` does.

    It must be the attribute `features` of the exported module, so that the checkpoint's keys are `features/kept`,
    `features/scale` and `features/known_words`.

    Args:
        vectorizer: the vectorizer, as in the metadata.
        kept: int32 (`vectorizer.kept`,): the bucket of each component, in ascending order.
        scale: (`vectorizer.kept`,), float32 or float16.
        known_words: uint8 (bits / 8,), as `hashed_ngrams.word_bits` gives them.
    """

    def __init__(
        self,
        vectorizer: HashedNGrams,
        kept: NDArray[np.int32],
        scale: NDArray[np.floating[Any]],
        known_words: NDArray[np.uint8],
    ) -> None:
        super().__init__()
        self.kept = tf.Variable(kept)
        self.scale = tf.Variable(scale)
        self.known_words = tf.Variable(known_words)
        self._vectorizer = vectorizer

    def __call__(self, text: tf.Tensor, batch: tf.Tensor) -> HashedVectors:
        """Vectorizes texts, string (batch,), UTF-8."""
        stream = unicode_graph.read(text)
        grams = list(_hashed_ngrams(self._vectorizer, stream))
        row, hashes = (tf.concat(parts, 0) for parts in zip(*grams, strict=True))
        feature, is_kept = self._rows(hashes)
        size = max(self._vectorizer.kept, 1)
        key, _, count = tf.unique_with_counts(tf.boolean_mask(row * size + feature, is_kept), tf.int64)
        found = GraphFeatures(key // size, key % size, count)
        edges = unicode_graph.words(stream)
        word_row = tf.gather(stream.row, edges.begin)
        known = tf.cast(self._known(stream, edges), tf.int32)
        return HashedVectors(
            _weigh(self._vectorizer, found, self.scale, batch),
            tf.math.unsorted_segment_sum(tf.ones_like(word_row, tf.int32), word_row, batch),
            tf.math.unsorted_segment_sum(known, word_row, batch),
        )

    def _rows(self, hashes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the row of each hash's bucket, and whether the bucket has a row."""
        if not self._vectorizer.kept:
            return tf.zeros_like(hashes), tf.zeros_like(hashes, tf.bool)
        bucket = tf.cast(tf.bitwise.bitwise_and(hashes, self._vectorizer.buckets - 1), tf.int32)
        row = tf.minimum(tf.searchsorted(self.kept, bucket), self._vectorizer.kept - 1)
        return tf.cast(row, tf.int64), tf.gather(self.kept, row) == bucket

    def _known(self, stream: GraphStream, edges: unicode_graph.WordEdges) -> tf.Tensor:
        """Returns whether each word is known, as `hashed_ngrams.known_words` does."""
        begin, end = edges
        pairs = _step(_step(tf.zeros_like(stream.code[:-1]), stream.code[:-1]), stream.code[1:])
        upto, runs_upto = (
            tf.concat([[0], tf.cumsum(tf.cast(held, tf.int64))], 0)
            for held in (self._is_set(pairs), _is_unspaced(stream.code))
        )
        has_known_pairs = 2 * (tf.gather(upto, end - 1) - tf.gather(upto, begin)) > end - 1 - begin
        is_run = tf.gather(runs_upto, end) > tf.gather(runs_upto, begin)
        return self._is_set(_hash_words(stream, begin, end)) | (has_known_pairs & is_run)

    def _is_set(self, hashes: tf.Tensor) -> tf.Tensor:
        """Returns whether the bit of each hash is set among the known words."""
        bit = tf.bitwise.bitwise_and(hashes, 8 * self.known_words.shape[0] - 1)
        byte = tf.cast(tf.gather(self.known_words, bit // 8), tf.int64)
        return tf.bitwise.bitwise_and(tf.bitwise.right_shift(byte, bit % 8), 1) != 0


def _is_unspaced(code: tf.Tensor) -> tf.Tensor:
    block = tf.searchsorted(UNSPACED[:, 0].copy(), code, side="right") - 1
    return (block >= 0) & (code <= tf.gather(UNSPACED[:, 1], tf.maximum(block, 0)))


class _Hashed(NamedTuple):
    """N-grams of one length."""

    row: tf.Tensor
    """int64 (total,): the text of each n-gram."""
    hash: tf.Tensor
    """int64 (total,)"""


def _hashed_ngrams(vectorizer: HashedNGrams, stream: GraphStream) -> Iterator[_Hashed]:
    if vectorizer.words:
        yield from _hashed_words(vectorizer, stream)
    if vectorizer.characters is not None:
        yield from _hashed_characters(vectorizer, stream)


def _hashed_characters(vectorizer: HashedNGrams, stream: GraphStream) -> Iterator[_Hashed]:
    characters = vectorizer.characters
    assert characters is not None
    is_space = stream.kind == SPACE
    spaces = tf.concat([[0], tf.cumsum(tf.cast(is_space, tf.int32))], 0)  # number of spaces before each position
    hashes = tf.zeros_like(stream.code)
    for order in range(1, characters.max + 1):
        last = stream.code[order - 1 :]
        hashes = _step(hashes[: tf.size(last)], last)
        if order < characters.min:
            continue
        start = tf.range(tf.size(last, tf.int64))
        end = start + order
        if order == 1:
            held = ~is_space
        else:
            held = tf.gather(stream.row, start) == tf.gather(stream.row, end - 1)
            if not characters.across_words:
                held &= tf.gather(spaces, end - 1) == tf.gather(spaces, start + 1)
        yield _held(held, tf.gather(stream.row, start), hashes)


def _hashed_words(vectorizer: HashedNGrams, stream: GraphStream) -> Iterator[_Hashed]:
    begin, end = unicode_graph.words(stream)
    words = _hash_words(stream, begin, end)
    yield _Hashed(tf.gather(stream.row, begin), words)
    hashes = _step(tf.zeros_like(words), words)
    for order in range(2, vectorizer.words + 1):
        last = words[order - 1 :]
        hashes = _step(hashes[: tf.size(last)], last)
        starts, ends = begin[: tf.size(last)], end[order - 1 :]
        held = tf.gather(stream.row, starts) == tf.gather(stream.row, ends - 1)
        yield _held(held, tf.gather(stream.row, starts), hashes)


def _hash_words(stream: GraphStream, begin: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
    lengths = tf.minimum(end - begin, MAX_WORD)

    def longer(place: tf.Tensor, words: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        code = tf.gather(stream.code, tf.minimum(begin + place, end - 1))
        return place + 1, tf.where(place < lengths, _step(words, code), words)

    start = tf.constant(0, tf.int64), tf.fill(tf.shape(begin), tf.constant(WORD_SEED, tf.int64))
    longest = tf.reduce_max(tf.concat([lengths, [0]], 0))
    return tf.while_loop(lambda place, _: place < longest, longer, start)[1]


def _held(held: tf.Tensor, row: tf.Tensor, hashes: tf.Tensor) -> _Hashed:
    return _Hashed(tf.boolean_mask(row, held), tf.boolean_mask(hashes, held))
