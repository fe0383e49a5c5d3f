import numpy as np
import pytest
from numpy.typing import NDArray

from training.classifiers.temperature_scaling import IDENTITY, Calibration, fit, probabilities


def test_one_unit_gives_the_probability_of_class_1() -> None:
    found = probabilities(np.array([[0.0], [np.log(3)], [-200]]))
    np.testing.assert_allclose(found, [[0.5, 0.5], [0.25, 0.75], [1, np.exp(-200)]], rtol=1e-6)


def test_several_units_are_sigmoids_divided_by_their_sum_even_where_all_vanish() -> None:
    logits = np.array([[1.0, -2, 0.5], [-200, -201, -300]], np.float32)
    found = probabilities(logits)
    sigmoids = 1 / (1 + np.exp(-logits[0]))
    np.testing.assert_allclose(found[0], sigmoids / sigmoids.sum(), rtol=1e-5)
    np.testing.assert_allclose(found[1], [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1)), 0], atol=1e-6)
    assert found.dtype == np.float32


def _texts(units: int, count: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Returns logits, and classes that are as likely as those divided by 0.3, less 1, say."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1, (count, units)).astype(np.float32)
    likely = probabilities(logits / 0.3 - 1.0)
    return logits, (likely.cumsum(axis=1) > random.random((count, 1))).argmax(axis=1)


def _log_loss(logits: NDArray[np.float32], classes: NDArray[np.int64], calibration: Calibration) -> float:
    found = probabilities(logits.astype(np.float64) / calibration.temperature + calibration.shift)
    return float(-np.log(found[np.arange(len(classes)), classes]).mean())


@pytest.mark.parametrize("units", [1, 4])
def test_many_texts_give_the_likeliest_calibration(units: int) -> None:
    temperature, shift = fit(*_texts(units, 20_000))
    assert temperature == pytest.approx(0.3, rel=0.1)
    assert shift == pytest.approx(-1, abs=0.2)


@pytest.mark.parametrize("units", [1, 4])
@pytest.mark.parametrize("count", [4, 12, 30])
def test_few_texts_make_held_out_texts_no_worse(units: int, count: int) -> None:
    held_out = _texts(units, 2_000, 1)
    losses = [_log_loss(*held_out, fit(*_texts(units, count, seed))) for seed in range(2, 22)]
    before = _log_loss(*held_out, IDENTITY)
    assert np.mean(losses) < before + 0.02
    assert max(losses) < before + 0.2


@pytest.mark.parametrize("count", [2, 10, 40])
def test_perfectly_separated_texts_make_no_answer_certain(count: int) -> None:
    classes = np.arange(count) % 2
    logits = np.where(classes, 0.5, -0.5)[:, np.newaxis].astype(np.float32)
    temperature, shift = fit(logits, classes)
    assert probabilities(logits / temperature + shift).max() < 0.999


def test_no_texts_leave_the_logits_as_they_are() -> None:
    assert fit(np.zeros((0, 3), np.float32), np.zeros(0, np.int64)) == IDENTITY


def test_a_sample_of_the_classes_gives_about_the_calibration_of_all() -> None:
    logits, classes = _texts(40, 4_000)
    expected = fit(logits, classes)
    tried = classes < 10
    found = fit(logits[tried, :10], classes[tried], others=39 / 9)
    assert found.temperature == pytest.approx(expected.temperature, rel=0.15)
    assert found.shift == pytest.approx(expected.shift, abs=0.6)
