import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from training.classifiers.feature_weights import feature_weights
from training.data.targets import one_hot

CLASSES = np.array([0, 0, 1, 1])
# Feature 0 is in all texts, 1 in both of class 0, 2 in one of each class, 3 in one text, 4 in none.
COUNTS = csr_array(np.array([[1, 1, 1, 0, 0], [7, 2, 0, 0, 0], [1, 0, 3, 1, 0], [1, 0, 0, 0, 0]]))


def _weights(
    idf: float, divergence: float, counts: csr_array = COUNTS, classes: NDArray[np.int64] = CLASSES
) -> NDArray[np.float16]:
    return feature_weights(
        counts, one_hot(classes, int(classes.max()) + 1), min_df=2, idf_power=idf, divergence_power=divergence
    )


def test_a_feature_weighs_more_the_fewer_texts_hold_it_and_nothing_below_the_minimum() -> None:
    weights = _weights(1, 0)
    assert weights.dtype == np.float16
    rare = np.log(5 / 3) + 1
    np.testing.assert_allclose(weights, [1, rare, rare, 0, 0], rtol=1e-3)


def test_weights_of_a_large_power_keep_their_ratio_within_float16() -> None:
    weights = _weights(30, 0).astype(np.float64)
    assert weights.max() == np.finfo(np.float16).max
    assert weights[1] / weights[0] == pytest.approx((np.log(5 / 3) + 1) ** 30, rel=0.01)


def test_a_feature_weighs_more_the_further_its_classes_are_from_those_of_all_texts() -> None:
    shares = np.array([4.5, 2.5]) / 7  # 2 texts of class 0, and 5 distributed over both
    np.testing.assert_allclose(_weights(0, 1), [0, (shares * np.log(shares * 2)).sum(), 0, 0, 0], atol=1e-4)


def test_the_divergence_is_that_of_dense_tables() -> None:
    random = np.random.default_rng(0)
    counts, classes = csr_array(random.integers(0, 2, (300, 40))), random.integers(0, 7, 300)
    expected = np.bincount(classes) / 300
    held = np.array([counts.toarray()[classes == label].sum(axis=0) for label in range(7)]).T + 5 * expected
    shares = held / held.sum(axis=1, keepdims=True)
    divergence = (shares * np.log(shares / expected)).sum(axis=1)
    np.testing.assert_allclose(_weights(0, 1, counts, classes), divergence, rtol=2e-3)


@pytest.mark.parametrize("power", [0.35, 1])
def test_a_class_without_texts_changes_nothing(power: float) -> None:
    np.testing.assert_array_equal(_weights(1, power, classes=CLASSES * 3), _weights(1, power))
