"""Thresholds for a precision: that they reach it on other texts, and what happens where they cannot."""

import numpy as np
import pytest
from numpy.typing import NDArray

from textmodel.metadata import Abstention
from training.evaluation.abstention import UNREACHABLE, find_abstention, selective_metrics, threshold_warnings
from training.evaluation.figures import precision_coverage_curve
from training.evaluation.metrics import Answers

TARGET = 0.95


def calibrated(texts: int, labels: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Returns probabilities, and classes that are as often right as these say."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (texts, labels))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    classes = (probabilities.cumsum(axis=1) > random.random((texts, 1))).argmax(axis=1)
    return probabilities.astype(np.float32), classes


@pytest.mark.parametrize("labels", [2, 46])
def test_overconfident_probabilities_reach_the_precision_too(labels: int) -> None:
    parts = []
    for seed in (0, 1):
        probabilities, classes = calibrated(20_000, labels, seed)
        sharpened = probabilities**2
        parts.append((sharpened / sharpened.sum(axis=1, keepdims=True), classes))
    abstention = find_abstention(*parts[0], TARGET)
    reached = selective_metrics(Answers.of(*parts[1]), abstention.thresholds)
    assert reached.interval[1] >= TARGET


def one_label(confidence: list[float], right: list[bool]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Returns probabilities of label 0 and 1 where the winner is label 0, and the true classes."""
    first = np.array(confidence, np.float32)
    return np.stack([first, 1 - first], axis=1), np.where(right, 0, 1)


@pytest.mark.parametrize("labels", [2, 5, 46])
def test_the_precision_is_reached_on_other_texts_within_its_interval(labels: int) -> None:
    abstention = find_abstention(*calibrated(20_000, labels, seed=0), TARGET)
    reached = selective_metrics(Answers.of(*calibrated(20_000, labels, seed=1)), abstention.thresholds)
    low, high = reached.interval
    assert low <= TARGET <= high or reached.precision >= TARGET
    assert 0.03 < reached.coverage < 1


def test_the_threshold_is_the_lowest_that_reaches_the_precision() -> None:
    confidence = [0.9] * 600 + [0.8] * 400 + [0.7] * 200
    right = [True] * 600 + [True] * 360 + [False] * 40 + [False] * 200
    assert find_abstention(*one_label(confidence, right), 0.95).thresholds[0] == pytest.approx(0.75)  # 960 of 1,000
    assert find_abstention(*one_label(confidence, right), 0.97).thresholds[0] == pytest.approx(0.85)
    assert find_abstention(*one_label(confidence, right), 0.5).thresholds[0] == 0


def test_equal_probabilities_are_on_one_side() -> None:
    confidence = [0.75] * 200
    right = [True] * 100 + [False] * 100
    assert find_abstention(*one_label(confidence, right), 0.9).thresholds[0] == UNREACHABLE


def test_a_few_right_answers_do_not_make_a_label_sure() -> None:
    few, classes = one_label([0.6] * 5, [True] * 5)
    assert find_abstention(few, classes, 0.9).thresholds == (UNREACHABLE, 0.9)  # of label 1 there is no answer at all


def test_thresholds_of_few_texts_of_none_and_of_all_are_warned_of() -> None:
    labels = ("never", "always", "few", "usual")
    warnings = threshold_warnings(Abstention(0.9, (UNREACHABLE, 0.0, 0.8, 0.7)), labels, [500, 500, 99, 100])
    assert [warning.partition(": ")[0].split(",")[0] for warning in warnings] == [
        "labels that never reach the precision 0.9",
        "labels with the threshold 0",
        "labels that the model gave to fewer than 100 validation texts",
    ]
    for label, warning in zip(labels[:3], warnings, strict=True):
        assert f": {label!r}: " in warning
    assert not threshold_warnings(Abstention(0.9, (0.7,)), ("usual",), [100])


def test_without_answers_the_precision_is_1_and_nothing_is_covered() -> None:
    reached = selective_metrics(Answers.of(*calibrated(100, 2, seed=0)), [UNREACHABLE, UNREACHABLE])
    assert (reached.coverage, reached.precision, reached.interval) == (0, 1, (0, 1))


def test_the_curve_begins_with_the_surest_answer_and_ends_with_the_accuracy() -> None:
    probabilities, classes = calibrated(1000, 3, seed=0)
    answers = Answers.of(probabilities, classes)
    (axes,) = precision_coverage_curve(answers, find_abstention(probabilities, classes, TARGET)).axes
    coverage, precision = map(np.asarray, axes.lines[0].get_data())
    assert (coverage[0], coverage[-1]) == (0.001, 1)
    assert precision[-1] == pytest.approx((probabilities.argmax(axis=1) == classes).mean())


def test_a_label_that_never_reaches_the_precision_has_a_threshold_above_1() -> None:
    assert UNREACHABLE == 2


@pytest.mark.parametrize(("target", "reached"), [(0.61904, True), (0.61906, False)])
def test_the_probabilities_count_as_a_hundred_texts_beside_the_answers(target: float, reached: bool) -> None:
    few, classes = one_label([0.6] * 5, [True] * 5)  # 5 right and 100 times 0.6, of 105
    assert (find_abstention(few, classes, target).thresholds[0] == 0) is reached


def test_an_answer_at_the_threshold_of_its_label_is_given() -> None:
    answers = Answers.of(np.array([[0.75, 0.25], [0.25, 0.75], [0.75, 0.25]], np.float32), np.array([0, 0, 1]))
    reached = selective_metrics(answers, [0.75, 0.76])
    assert (reached.texts, reached.answered, reached.right) == (3, 2, 1)
    assert (reached.coverage, reached.precision) == (2 / 3, 1 / 2)
    assert str(reached).startswith("coverage 0.6667, precision 0.5000 (95% interval 0.0")
