import numpy as np
import pytest
from numpy.typing import NDArray

from training.data.splitting import fold_of_texts, held_out, keys_for_test, keys_for_validation

RANDOM = np.random.default_rng(3)
HASHES = RANDOM.integers(0, 2**64, 30_000, np.uint64)


def _split(hashes: NDArray[np.uint64], classes: NDArray[np.int64], share: float, keep: int = 1) -> NDArray[np.bool_]:
    return held_out(hashes, keys_for_test(hashes), classes, share, keep)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_each_class_gives_about_its_share(share: float) -> None:
    classes = np.repeat([0, 1, 2], [20_000, 9000, 1000])
    given = np.bincount(classes[_split(HASHES, classes, share)])
    assert given == pytest.approx(share * np.array([20_000, 9000, 1000]), rel=0.2)


def test_a_text_stays_on_its_side_as_the_file_grows_and_is_sorted_anew() -> None:
    classes = np.arange(30_000) % 5
    before = _split(HASHES[:3000], classes[:3000], 0.2)
    order = RANDOM.permutation(30_000)
    after = np.empty(30_000, np.bool_)
    after[order] = _split(HASHES[order], classes[order], 0.2)
    assert after[:3000].tolist() == before.tolist()


def test_the_test_and_the_validation_texts_are_drawn_independently() -> None:
    classes = np.zeros(30_000, np.int64)
    test = _split(HASHES, classes, 0.2)
    validation = held_out(HASHES, keys_for_validation(HASHES), classes, 0.2, 1)
    assert (test & validation).mean() == pytest.approx(0.04, abs=0.005)


def test_copies_of_a_text_stay_on_one_side_even_when_their_classes_differ() -> None:
    hashes = np.repeat(HASHES[:1000], 3)
    drawn = _split(hashes, np.arange(3000) % 2, 0.3)
    assert (drawn.reshape(1000, 3) == drawn.reshape(1000, 3)[:, :1]).all()
    assert drawn.mean() == pytest.approx(0.3, abs=0.05)


def test_a_text_with_more_copies_than_its_class_should_give_is_not_held_out() -> None:
    for first in range(0, 1000, 40):
        hashes = np.concatenate([np.repeat(HASHES[first], 50), HASHES[first + 1 : first + 21]])
        drawn = _split(hashes, np.zeros(70, np.int64), 0.2)
        assert not drawn[:50].any()
        assert 1 <= drawn.sum() <= 7


@pytest.mark.parametrize(("share", "keep", "expected"), [(0.01, 1, 1), (0.99, 1, 2), (0.99, 2, 1)])
def test_a_small_class_gives_one_text_and_keeps_as_many_as_it_has_to(share: float, keep: int, expected: int) -> None:
    classes = np.array([0, 1, 1, 1, 0, 0])
    for first in range(0, 600, 6):
        drawn = _split(HASHES[first : first + 6], classes, share, keep)
        given = np.bincount(classes[drawn], minlength=2)
        assert (given >= 1).all()
        assert (given <= 3 - keep).all()
        assert share > 0.5 or given.tolist() == [expected, expected]


def test_a_small_class_gives_at_least_two_thirds_and_at_most_three_halves() -> None:
    given = [_split(HASHES[at : at + 20], np.zeros(20, np.int64), 0.2).sum() for at in range(0, 20_000, 20)]
    assert min(given) == 2
    assert max(given) == 6


def test_a_class_without_a_first_text_of_its_own_gives_none() -> None:
    hashes = np.repeat(HASHES[:10], 2)
    drawn = _split(hashes, np.array([0, 2] * 10), 0.2)
    assert drawn.any()


def test_copies_are_in_one_fold_and_each_class_in_all() -> None:
    random = np.random.default_rng(0)
    texts = random.integers(0, 200, 400).astype(np.uint64)
    classes = (texts % 3).astype(np.int64)
    fold = fold_of_texts(texts, classes, 5, np.random.default_rng(0))
    for text in np.unique(texts):
        assert len(np.unique(fold[texts == text])) == 1
    for each in range(3):
        of_texts = [fold[texts == text][0] for text in np.unique(texts[classes == each])]
        counts = np.bincount(of_texts, minlength=5)
        assert counts.max() - counts.min() <= 1
