import numpy as np

from training.data.sequences import FlatSequences, FlatTexts


def test_packed_sequences_are_read_as_they_were_packed() -> None:
    sequences = FlatSequences(np.array([1, 2, 3, 4], np.int32), np.array([1, 1, 4]))
    assert len(sequences) == 3
    assert [each.tolist() for each in sequences] == [[1], [], [2, 3, 4]]
    assert [each.tolist() for each in sequences[1:]] == [[], [2, 3, 4]]
    assert sequences[-1].tolist() == [2, 3, 4]


def test_packed_sequences_may_be_some_in_another_order() -> None:
    sequences = FlatSequences(np.array([1, 2, 3], np.int32), np.array([1, 2, 3]), np.array([2, 0]))
    assert (len(sequences), [each.tolist() for each in sequences]) == (2, [[3], [1]])
    assert [each.tolist() for each in sequences[::-1]] == [[1], [3]]


def test_packed_texts_are_read_as_they_were_packed() -> None:
    texts = FlatTexts("aéb".encode(), np.array([3, 3, 4]))
    assert (len(texts), list(texts), list(texts[1:]), texts[-1]) == (3, ["aé", "", "b"], ["", "b"], "b")
    some = FlatTexts("aéb".encode(), np.array([3, 3, 4]), np.array([2, 0]))
    assert (len(some), list(some), list(some[1:])) == (2, ["b", "aé"], ["aé"])
