import numpy as np
import pytest

from training.data.splitting import draw


def _random() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_each_class_gives_its_share_however_the_rows_are_sorted(share: float) -> None:
    classes = np.repeat([0, 1, 2], [600, 300, 10])
    drawn = draw(np.arange(910, dtype=np.uint64), classes, share, 1, _random())
    assert np.bincount(classes[drawn]).tolist() == [600 * share, 300 * share, 10 * share]


def test_the_seed_decides_which_rows_are_drawn() -> None:
    texts, classes = np.arange(100, dtype=np.uint64), np.arange(100) % 2
    first, again, other = (draw(texts, classes, 0.2, 1, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()


def test_copies_of_a_text_stay_on_one_side_even_when_their_classes_differ() -> None:
    texts = np.repeat(np.arange(100, dtype=np.uint64), 3)
    classes = np.arange(300) % 2
    drawn = draw(texts, classes, 0.3, 1, _random())
    assert (drawn.reshape(100, 3) == drawn.reshape(100, 3)[:, :1]).all()
    assert drawn.sum() == pytest.approx(90, abs=4)


def test_a_text_with_more_copies_than_are_wanted_is_not_drawn() -> None:
    texts = np.array([7] * 50 + list(range(100, 120)), np.uint64)
    for seed in range(10):
        drawn = draw(texts, np.zeros(70, np.int64), 0.2, 1, np.random.default_rng(seed))
        assert not drawn[:50].any()
        assert drawn.sum() == 14


@pytest.mark.parametrize(("share", "keep", "expected"), [(0.01, 1, 1), (0.99, 1, 2), (0.99, 2, 1)])
def test_a_small_class_gives_one_text_and_keeps_as_many_as_it_has_to(share: float, keep: int, expected: int) -> None:
    classes = np.array([0, 1, 1, 1, 0, 0])
    drawn = draw(np.arange(6, dtype=np.uint64), classes, share, keep, _random())
    assert np.bincount(classes[drawn]).tolist() == [expected, expected]
