import math

import numpy as np
import pytest

from training.evaluation.metrics import Answers, calibrate, evaluate

PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.25, 0.5, 0.25]], np.float32)
CLASSES = np.array([0, 1, 1, 1])


def test_metrics_are_those_computed_by_hand() -> None:
    result = evaluate(PROBABILITIES, CLASSES)
    assert result.accuracy == 0.75
    assert result.log_loss == pytest.approx(-math.log(0.7 * 0.3 * 0.5 * 0.5) / 4, abs=1e-6)
    np.testing.assert_allclose(result.precision, [1 / 2, 1, 0])
    np.testing.assert_allclose(result.recall, [1, 2 / 3, 0])
    np.testing.assert_allclose(result.f1, [2 / 3, 4 / 5, 0])
    assert result.support.tolist() == [1, 3, 0]
    assert result.confusion.tolist() == [[1, 0, 0], [1, 2, 0], [0, 0, 0]]
    # 0.7 is in the bin (10/15, 11/15], 0.6 alone in its own, and both 0.5, which are right, in (7/15, 8/15].
    assert result.expected_calibration_error == pytest.approx((0.3 + 0.6 + 2 * 0.5) / 4, abs=1e-6)


def test_the_interval_of_the_accuracy_is_wilson_s() -> None:
    n, p, z = 4, 0.75, 1.959964
    middle, margin = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    expected = [(middle - margin) / (1 + z**2 / n), (middle + margin) / (1 + z**2 / n)]
    assert evaluate(PROBABILITIES, CLASSES).accuracy_interval == pytest.approx(expected, abs=1e-6)


def test_two_columns_are_evaluated_as_two_classes() -> None:
    result = evaluate(np.array([[0.9, 0.1], [0.2, 0.8]], np.float32), np.array([0, 0]))
    assert result.accuracy == 0.5
    assert result.confusion.tolist() == [[1, 1], [0, 0]]


def test_a_class_that_the_model_does_not_know_has_the_probability_zero() -> None:
    answers = Answers.of(PROBABILITIES, np.array([0, 3, 100_000, 1]))
    assert answers.classes.tolist() == [0, 3, 100_000, 1]
    np.testing.assert_allclose(answers.true_probability, [0.7, 0, 0, 0.5], rtol=1e-6)


def test_a_true_class_of_probability_zero_gives_a_finite_log_loss() -> None:
    assert math.isfinite(evaluate(np.array([[1, 0]], np.float32), np.array([1])).log_loss)


@pytest.mark.parametrize(
    ("confidence", "correct", "expected"),
    [
        ([1.0, 1.0], [True, True], 0),
        ([1.0, 1.0], [False, False], 1),
        ([0.75, 0.75, 0.75, 0.75], [True, True, True, False], 0),  # within a bin, too high and too low cancel out
        ([0.5, 0.9], [True, False], 0.7),  # across bins, they do not
    ],
)
def test_calibration_error_is_the_weighted_gap_of_the_bins(
    confidence: list[float], correct: list[bool], expected: float
) -> None:
    assert calibrate(np.array(confidence), np.array(correct)).expected_error == pytest.approx(expected)


def test_the_calibration_curve_has_the_means_of_each_bin_that_holds_a_text() -> None:
    result = calibrate(np.array([0.5, 0.52, 0.9]), np.array([True, False, True]))
    assert result.texts.tolist() == [2, 1]
    np.testing.assert_allclose(result.confidence, [0.51, 0.9])
    np.testing.assert_allclose(result.accuracy, [0.5, 1])


def test_calibration_bins_have_a_fifteenth_each() -> None:
    inside = calibrate(np.array([9.01 / 15, 9.99 / 15]), np.array([True, False])).expected_error
    across = calibrate(np.array([8.99 / 15, 9.01 / 15]), np.array([True, False])).expected_error
    assert inside == pytest.approx(abs(1 - 19 / 15) / 2)
    assert across == pytest.approx(((1 - 8.99 / 15) + 9.01 / 15) / 2)
