"""Turns sequences of word indices into the tensors that a Keras network takes, one mini-batch at a time.

Only the indices stay in memory: 25,000 multi-hot rows of 10,000 would fill a gigabyte.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from textmodel.metadata import MultiHot, PaddedSequence
from textmodel.vocabulary import PADDING


def vectorize(vectorizer: MultiHot | PaddedSequence, sequences: tf.RaggedTensor) -> tf.Tensor:
    """Returns the network's input for sequences, int32 (texts, None): float32 (texts, num_words) or int32 (texts,
    length).
    """
    if isinstance(vectorizer, PaddedSequence):
        return sequences.to_tensor(PADDING, shape=(None, vectorizer.length))
    texts, num_words = sequences.nrows(), vectorizer.num_words
    flat = sequences.value_rowids() * num_words + tf.cast(sequences.values, tf.int64)
    counts = tf.scatter_nd(flat[:, tf.newaxis], tf.ones_like(flat, tf.float32), [texts * num_words])
    return tf.reshape(tf.minimum(counts, 1), [texts, num_words])


def batches(
    vectorizer: MultiHot | PaddedSequence,
    sequences: Sequence[NDArray[np.int32]],
    batch_size: int,
    targets: Sequence[NDArray[np.generic]] = (),
    shuffle_seed: int | None = None,
) -> tf.data.Dataset:
    """Returns the mini-batches of an epoch: vectors, and the rows of `targets` that belong to them.

    Args:
        vectorizer: makes the vectors.
        sequences: each int32 (words + 1,), as `Vocabulary.indices` gives them.
        batch_size: texts in a mini-batch; the last one may have fewer.
        targets: arrays (texts, ...): the targets and their weights; empty for none.
        shuffle_seed: None keeps the order; a number gives each epoch another order, the same in every run.
    """
    texts = tf.RaggedTensor.from_row_lengths(np.concatenate(sequences), [len(sequence) for sequence in sequences])

    def batch(rows: tf.Tensor) -> tf.Tensor | tuple[tf.Tensor, ...]:
        vectors = vectorize(vectorizer, tf.gather(texts, rows))
        return (vectors, *(tf.gather(each, rows) for each in targets)) if targets else vectors

    rows = tf.data.Dataset.range(len(sequences))
    if shuffle_seed is not None:
        rows = rows.shuffle(len(sequences), seed=shuffle_seed)
    return rows.batch(batch_size).map(batch)
