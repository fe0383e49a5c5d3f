import numpy as np
import pytest
import tensorflow as tf

from textmodel.metadata import MultiHot, PaddedSequence
from training.classifiers.vectorizers import batches, vectorize

SEQUENCES = [np.array(sequence, np.int32) for sequence in ([1], [1, 4, 2, 4], [1, 5, 5, 5, 3])]


def test_multi_hot_is_one_at_each_index_however_often_it_comes() -> None:
    vectors = vectorize(MultiHot(6), tf.ragged.constant([s.tolist() for s in SEQUENCES], dtype=tf.int32))
    assert vectors.dtype == tf.float32
    assert vectors.numpy().tolist() == [[0, 1, 0, 0, 0, 0], [0, 1, 1, 0, 1, 0], [0, 1, 0, 1, 0, 1]]


def test_sequences_are_padded_and_cut_at_their_end() -> None:
    vectors = vectorize(PaddedSequence(6, 3, 1), tf.ragged.constant([s.tolist() for s in SEQUENCES], dtype=tf.int32))
    assert vectors.dtype == tf.int32
    assert vectors.numpy().tolist() == [[1, 0, 0], [1, 4, 2], [1, 5, 5]]


@pytest.mark.parametrize("vectorizer", [MultiHot(50), PaddedSequence(50, 3, 1)])
def test_vectors_are_made_a_batch_at_a_time(vectorizer: MultiHot | PaddedSequence) -> None:
    sequences = [np.array([1, index], np.int32) for index in range(4, 14)]
    targets = np.arange(10, dtype=np.float32)[:, np.newaxis]
    found = [(vectors.numpy(), target.numpy()) for vectors, target in batches(vectorizer, sequences, 4, [targets])]
    assert [len(vectors) for vectors, _ in found] == [4, 4, 2]
    expected = vectorize(vectorizer, tf.ragged.constant([s.tolist() for s in sequences], dtype=tf.int32))
    np.testing.assert_array_equal(np.concatenate([vectors for vectors, _ in found]), expected)
    np.testing.assert_array_equal(np.concatenate([target for _, target in found]), targets)


def test_each_epoch_has_another_order_of_all_texts_and_the_same_in_every_run() -> None:
    sequences = [np.array([1], np.int32)] * 100
    targets = np.arange(100, dtype=np.float32)[:, np.newaxis]

    def run() -> list[list[float]]:
        tf.random.set_seed(1)
        epoch = batches(MultiHot(4), sequences, 32, [targets], shuffle_seed=3)
        return [[value for _, target in epoch for value in target.numpy()[:, 0].tolist()] for _ in range(2)]

    first, second = run()
    assert first != second
    assert sorted(first) == sorted(second) == targets[:, 0].tolist()
    assert run() == [first, second]
