"""Which labels are wrong, of logits whose noise is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from training.classifiers.temperature_scaling import Calibration
from training.evaluation import label_noise
from training.evaluation.label_noise import Noise

TEXTS = 8_000


def made_up(
    classes: int, rate: float, strength: float = 4
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """Returns logits of texts, their labels, and which of these are wrong. Two classes are calibrated."""
    random = np.random.default_rng(0)
    truth = random.integers(0, classes, TEXTS)
    if classes == 2:
        logits = random.normal(0, strength, (TEXTS, 1))
        truth = (random.random(TEXTS) < 1 / (1 + np.exp(-logits[:, 0]))).astype(np.int64)
    else:
        logits = np.where(np.arange(classes) == truth[:, np.newaxis], strength, -strength)
        logits = logits + random.normal(0, strength / 2, logits.shape)
    is_wrong = random.random(TEXTS) < rate
    given = np.where(is_wrong, (truth + random.integers(1, classes, TEXTS)) % classes, truth)
    return logits.astype(np.float32), given, is_wrong


def texts_of(count: int) -> NDArray[np.uint64]:
    return np.arange(count, dtype=np.uint64)


@pytest.mark.parametrize(("classes", "rate"), [(2, 0.05), (2, 0.2), (5, 0.05), (5, 0.2)])
def test_the_rate_of_wrong_labels_is_found(classes: int, rate: float) -> None:
    logits, given, _ = made_up(classes, rate)
    assert label_noise.fit(logits, given).rate == pytest.approx(rate, rel=0.25)


def test_of_the_listed_labels_as_many_are_wrong_as_their_probabilities_say() -> None:
    logits, given, is_wrong = made_up(2, 0.1)
    wrong = label_noise.judge(logits, given, texts_of(TEXTS), label_noise.fit(logits, given)).wrong
    listed = label_noise.listed(wrong)
    assert (np.diff(wrong[listed]) <= 0).all()
    assert is_wrong[listed].mean() == pytest.approx(wrong[listed].mean(), abs=0.05)


def test_the_list_is_as_long_as_the_expected_f1_is_highest() -> None:
    assert label_noise.listed(np.array([0.05, 0.9, 0.3, 0.95, 0.2])).tolist() == [3, 1]
    assert label_noise.listed(np.array([0.2, 0.01, 0.3])).tolist() == [2, 0]
    assert label_noise.listed(np.full(100, 0.05)).tolist() == []


def test_copies_vote_where_they_contradict_each_other_and_count_once_where_not() -> None:
    noise = Noise(Calibration(1, 0), 0.1)
    logits = np.full((6, 1), -1, np.float32)  # class 0 is the likelier one
    one = label_noise.judge(logits[:1], np.array([1]), texts_of(1), noise).wrong[0]
    copies = label_noise.judge(logits[:3], np.array([1, 1, 1]), np.zeros(3, np.uint64), noise).wrong
    assert copies.tolist() == pytest.approx([one] * 3)
    tie = label_noise.judge(logits[:2], np.array([0, 1]), np.zeros(2, np.uint64), noise)
    assert tie.wrong[0] < 0.5 < tie.wrong[1]
    assert tie.suggested.tolist() == [1, 0]
    majority = label_noise.judge(logits, np.array([1, 1, 1, 1, 1, 0]), np.zeros(6, np.uint64), noise).wrong
    assert majority[5] > 0.99
    assert majority[0] < 0.01


def test_the_likeliest_other_class_is_suggested() -> None:
    logits = np.array([[3, 2, -3], [3, -3, -1]], np.float32)
    verdicts = label_noise.judge(logits, np.array([0, 0]), texts_of(2), Noise(Calibration(1, 0), 0.05))
    assert verdicts.suggested.tolist() == [1, 2]
