"""Tokenization in TensorFlow ops: the form of the specification that an exported graph carries.

Same indices as `Vocabulary.indices` for every Unicode string, whatever the locale of the process.
"""

from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from textmodel.tokenization import FILTERS, STAND_IN
from textmodel.vocabulary import UNKNOWN

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
