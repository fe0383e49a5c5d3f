"""Tokenization and n-gram features in TensorFlow ops: the form of the specifications that an exported graph carries.

Same indices as `Vocabulary.indices` for every Unicode string, whatever the locale of the process; same features as
`textmodel.ngrams`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from textmodel.metadata import NGrams
from textmodel.ngrams import HASH_MASK, HASH_MULTIPLIER, HASH_SHIFT
from textmodel.tokenization import FILTERS, STAND_IN
from textmodel.vocabulary import FIRST_WORD, UNKNOWN

# ICU lowers by the process's locale: in a Turkish one I becomes a dotless i, in a Lithuanian one an accented I keeps
# its dot. Lowered beforehand, these are out of its reach. TensorFlow's lowering stops at NUL, and Unicode 14 changed
# what U+1734 means to its neighbours: the specification reads both as the stand-in.
_BEFORE_ICU = {"İ": "i\u0307", "Ì": "ì", "Í": "í", "Ĩ": "ĩ", "Į": "į", "\0": STAND_IN, "\u1734": STAND_IN}


class Words(NamedTuple):
    """The words of a batch of texts, one after another."""

    row: tf.Tensor
    """int64 (total,): which text each word is in, rising."""
    index: tf.Tensor
    """int64 (total,): its index in the vocabulary, `UNKNOWN` outside."""

    def count(self, batch: tf.Tensor) -> tf.Tensor:
        """int32 (batch,): words in each text."""
        return tf.math.unsorted_segment_sum(tf.ones_like(self.row, tf.int32), self.row, batch)

    def count_known(self, batch: tf.Tensor) -> tf.Tensor:
        """int32 (batch,): words of each text that the vocabulary holds."""
        known = tf.cast(tf.not_equal(self.index, UNKNOWN), tf.int32)
        return tf.math.unsorted_segment_sum(known, self.row, batch)


class Tokenizer(tf.Module):
    """Tokenizes in a graph, with the vocabulary as the SavedModel's asset.

    Args:
        vocabulary_file: what `Vocabulary.write` wrote; copied into the SavedModel on export.
    """

    def __init__(self, vocabulary_file: Path) -> None:
        super().__init__()
        self._table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                str(vocabulary_file),
                key_dtype=tf.string,
                key_index=tf.lookup.TextFileIndex.WHOLE_LINE,
                value_dtype=tf.int64,
                value_index=tf.lookup.TextFileIndex.LINE_NUMBER,
            ),
            default_value=UNKNOWN,
            experimental_is_anonymous=True,  # otherwise tables of files with the same path are one table
        )

    def __call__(self, text: tf.Tensor) -> Words:
        """Tokenizes string (batch,), UTF-8."""
        row, word = tokenize(text)
        return Words(row, self._table.lookup(word))


def tokenize(text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the words of texts, string (batch,), UTF-8: which text each is in, int64 (total,), and itself, string
    (total,). A word with a character of `NEWER_CHARACTERS` is not lowered as the specification does; neither form is in
    any vocabulary.
    """
    text = tf.strings.lower(text)
    for before, after in _BEFORE_ICU.items():
        text = tf.strings.regex_replace(text, before, after)
    text = tf.strings.lower(text, encoding="utf-8")
    split = tf.raw_ops.StringSplit(input=text, delimiter=f"{FILTERS} ", skip_empty=True)
    return split.indices[:, 0], split.values


class Features(NamedTuple):
    """The distinct features of a batch of texts, one text after another in no order."""

    row: tf.Tensor
    """int64 (total,): which text each is in."""
    feature: tf.Tensor
    """int64 (total,)"""
    count: tf.Tensor
    """int64 (total,): how often the text has it."""


def features(vectorizer: NGrams, words: Words) -> Features:
    """Returns the features of a batch, as `ngrams.features` does."""
    keys = [row * vectorizer.features + feature for row, feature in _windows(vectorizer, words)]
    key, _, count = tf.unique_with_counts(tf.concat(keys, 0), tf.int64)
    return Features(key // vectorizer.features, key % vectorizer.features, count)


def _windows(vectorizer: NGrams, words: Words) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Yields the texts and features of windows of 1, 2 and so on."""
    known = words.index >= FIRST_WORD
    held = known
    hashes = _step(tf.zeros_like(words.index), words.index)
    yield tf.boolean_mask(words.row, held), tf.boolean_mask(words.index, held)
    for order in range(1, vectorizer.orders):
        # One fewer than before: each is named by the word that it begins with, and the last has lost its end.
        held = held[:-1] & known[order:] & (words.row[:-order] == words.row[order:])
        hashes = _step(hashes[:-1], words.index[order:])
        buckets = tf.bitwise.bitwise_and(tf.boolean_mask(hashes, held), vectorizer.buckets - 1)
        yield tf.boolean_mask(words.row[order:], held), vectorizer.num_words + buckets


def _step(hashes: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """Returns the hashes of windows with another word at their ends."""
    product = tf.bitwise.bitwise_and((hashes + indices) * HASH_MULTIPLIER, HASH_MASK)
    return tf.bitwise.bitwise_xor(product, tf.bitwise.right_shift(product, HASH_SHIFT))


class Components(NamedTuple):
    """The components of a batch of sparse vectors, one after another; all others are zero."""

    row: tf.Tensor
    """int64 (total,): which vector each is in."""
    feature: tf.Tensor
    """int64 (total,): where in it."""
    value: tf.Tensor
    """float32 (total,)"""

    def matmul(self, kernel: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
        """float32 (batch, units): the vectors times a kernel (features, units), float32 or float16."""
        rows = tf.cast(tf.gather(kernel, self.feature), tf.float32)
        return tf.math.unsorted_segment_sum(self.value[:, tf.newaxis] * rows, self.row, batch)


class NGramVectorizer(tf.Module):
    """Turns words into sparse vectors in a graph.

    It has to be the attribute `features` of the module that is exported: the checkpoint's key is `features/scale`.

    Args:
        vectorizer: what the metadata will say.
        scale: (`vectorizer.features`,), float32 or float16.
    """

    def __init__(self, vectorizer: NGrams, scale: NDArray[np.floating[Any]]) -> None:
        super().__init__()
        self.scale = tf.Variable(scale)
        self._vectorizer = vectorizer

    def __call__(self, words: Words, batch: tf.Tensor) -> Components:
        """Vectorizes the words of `batch` texts."""
        row, feature, count = features(self._vectorizer, words)
        value = tf.cast(tf.gather(self.scale, feature), tf.float32)
        if self._vectorizer.counts == "log":
            value *= 1 + tf.math.log(tf.cast(count, tf.float32))
        if self._vectorizer.normalize:
            norm = tf.sqrt(tf.math.unsorted_segment_sum(tf.square(value), row, batch))
            value = tf.math.divide_no_nan(value, tf.gather(norm, row))
        return Components(row, feature, value)
