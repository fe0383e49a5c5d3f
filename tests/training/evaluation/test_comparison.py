import math

import numpy as np
import pytest

from training.evaluation.comparison import AccuracyComparison


def test_the_counts_are_those_of_the_pairs() -> None:
    right_a = np.array([True, True, True, False, False, True, False])
    right_b = np.array([True, True, False, True, False, True, True])
    result = AccuracyComparison.of(right_a, right_b)
    assert result == AccuracyComparison(both_right=3, only_a=1, only_b=2, both_wrong=1)
    assert result.scores == (4 / 7, 5 / 7)
    assert result.difference == pytest.approx(1 / 7)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        # The example of ci.prop.ps in the R package statpsych, by the author of the method.
        (AccuracyComparison(both_right=6, only_a=4, only_b=26, both_wrong=12), 0.2548067, 0.6251933),
        # Its example for one variable of three values, 125, 82 and 92 times.
        (AccuracyComparison(both_right=92, only_a=82, only_b=125, both_wrong=0), 0.05011508, 0.23559920),
    ],
)
def test_the_interval_is_that_of_published_examples(counts: AccuracyComparison, low: float, high: float) -> None:
    assert counts.interval == pytest.approx((low, high), abs=1e-7)


def test_the_interval_is_about_that_of_the_paired_bootstrap() -> None:
    counts = AccuracyComparison(both_right=1500, only_a=90, only_b=160, both_wrong=250)
    samples = np.random.default_rng(0).multinomial(2000, np.array([1500, 90, 160, 250]) / 2000, 20_000)
    differences = (samples[:, 2] - samples[:, 1]) / 2000
    assert counts.interval == pytest.approx(np.quantile(differences, [0.025, 0.975]), abs=0.001)


@pytest.mark.parametrize(("only_a", "only_b"), [(12, 2), (2, 12), (5, 0), (7, 7), (40, 61)])
def test_the_p_value_is_twice_the_binomial_tail(only_a: int, only_b: int) -> None:
    n = only_a + only_b
    tail = sum(math.comb(n, k) for k in range(min(only_a, only_b) + 1)) / 2**n
    assert AccuracyComparison(20, only_a, only_b, 16).p_value == pytest.approx(min(1, 2 * tail))


def test_the_p_value_is_that_of_a_published_example() -> None:
    # Armitage and Berry, "Statistical Methods in Medical Research", 1994: two media for culturing 50 specimens.
    assert AccuracyComparison(20, 12, 2, 16).p_value == pytest.approx(0.0129, abs=5e-5)


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        (AccuracyComparison(800, 20, 60, 120), "better"),
        (AccuracyComparison(800, 60, 20, 120), "worse"),
        (AccuracyComparison(800, 40, 45, 115), "undecided"),
        (AccuracyComparison(10, 0, 0, 2), "undecided"),  # the same answers
        (AccuracyComparison(0, 0, 5, 0), "undecided"),  # the interval leaves out 0, but the p-value is 0.0625
        (AccuracyComparison(0, 0, 1, 0), "undecided"),
    ],
)
def test_the_verdict_needs_the_interval_and_the_exact_test(counts: AccuracyComparison, verdict: str) -> None:
    assert counts.verdict == verdict


def test_the_interval_stays_between_minus_one_and_one() -> None:
    assert AccuracyComparison(0, 0, 5, 0).interval[1] == 1
    assert AccuracyComparison(0, 5, 0, 0).interval[0] == -1
