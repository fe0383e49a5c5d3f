"""From sequences of word indices to the tensors that a network takes, one mini-batch at a time.

All texts together are kept as indices: 25,000 multi-hot rows of 10,000 would fill a gigabyte.
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.sparse import csr_array

from textmodel.metadata import MultiHot, NGrams, PaddedSequence
from textmodel.vocabulary import PADDING

Vectorizer = MultiHot | PaddedSequence | NGrams


def vectorize(vectorizer: MultiHot | PaddedSequence, sequences: tf.RaggedTensor) -> tf.Tensor:
    """Returns what a network takes of sequences, int32 (texts, None): float32 (texts, num_words) or int32 (texts,
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
    targets: NDArray[np.float32] | None = None,
    shuffle_seed: int | None = None,
) -> tf.data.Dataset:
    """Returns the mini-batches of an epoch: vectors, with their targets if there are any.

    Args:
        targets: (texts, outputs).
        shuffle_seed: None keeps the order; a number gives each epoch another order, the same in every run.
    """
    texts = tf.RaggedTensor.from_row_lengths(np.concatenate(sequences), [len(sequence) for sequence in sequences])
    return _batches(
        len(sequences), batch_size, lambda rows: vectorize(vectorizer, tf.gather(texts, rows)), targets, shuffle_seed
    )


def sparse_batches(
    vectors: csr_array,
    batch_size: int,
    targets: NDArray[np.float32] | None = None,
    shuffle_seed: int | None = None,
) -> tf.data.Dataset:
    """Returns the mini-batches of an epoch, as `batches` does, of sparse vectors, float32 (texts, features)."""
    columns = tf.RaggedTensor.from_row_splits(vectors.indices.astype(np.int64), vectors.indptr.astype(np.int64))
    values = columns.with_values(vectors.data)

    def batch(rows: tf.Tensor) -> tf.SparseTensor:
        some = tf.gather(columns, rows)
        where = tf.stack([some.value_rowids(), some.values], axis=1)
        return tf.SparseTensor(where, tf.gather(values, rows).values, [some.nrows(), vectors.shape[1]])

    return _batches(vectors.shape[0], batch_size, batch, targets, shuffle_seed)


def _batches(
    texts: int,
    batch_size: int,
    vectors: Callable[[tf.Tensor], tf.Tensor | tf.SparseTensor],
    targets: NDArray[np.float32] | None,
    shuffle_seed: int | None,
) -> tf.data.Dataset:
    def batch(rows: tf.Tensor) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        return vectors(rows) if targets is None else (vectors(rows), tf.gather(targets, rows))

    rows = tf.data.Dataset.range(texts)
    if shuffle_seed is not None:
        rows = rows.shuffle(texts, seed=shuffle_seed)
    return rows.batch(batch_size).map(batch)
