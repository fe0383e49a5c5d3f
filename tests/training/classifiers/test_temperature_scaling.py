import numpy as np
import pytest

from training.classifiers.temperature_scaling import fit, probabilities


def test_one_unit_says_the_probability_of_class_1() -> None:
    found = probabilities(np.array([[0.0], [np.log(3)], [-200]]))
    np.testing.assert_allclose(found, [[0.5, 0.5], [0.25, 0.75], [1, np.exp(-200)]], rtol=1e-6)


def test_several_units_are_sigmoids_divided_by_their_sum_even_where_all_vanish() -> None:
    logits = np.array([[1.0, -2, 0.5], [-200, -201, -300]], np.float32)
    found = probabilities(logits)
    sigmoids = 1 / (1 + np.exp(-logits[0]))
    np.testing.assert_allclose(found[0], sigmoids / sigmoids.sum(), rtol=1e-5)
    np.testing.assert_allclose(found[1], [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1)), 0], atol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize("units", [1, 4])
def test_the_calibration_makes_the_classes_the_likeliest(units: int) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 1, (20_000, units)).astype(np.float32)
    says = probabilities(logits / 0.3 - 1.0)
    classes = (says.cumsum(axis=1) > random.random((len(says), 1))).argmax(axis=1)
    temperature, shift = fit(logits, classes)
    assert temperature == pytest.approx(0.3, rel=0.1)
    assert shift == pytest.approx(-1, abs=0.2)


def test_classes_that_are_told_apart_perfectly_have_a_finite_calibration() -> None:
    temperature, shift = fit(np.array([[-1e-4], [1e-4]], np.float32), np.array([0, 1]))
    assert temperature == pytest.approx(np.exp(-7))
    assert np.isfinite(shift)
