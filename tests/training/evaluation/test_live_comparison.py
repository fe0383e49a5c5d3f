"""The verdict on live traffic: that its interval covers the truth, and what it agrees with."""

import numpy as np
import pytest

from training.evaluation.comparison import AccuracyComparison
from training.evaluation.live_comparison import LiveComparison

RUNS = 1000
COVERAGE = 0.93


def coverage(share_labelled: float, *, texts: int, disagreeing: float, better: float, worse: float) -> float:
    """Returns how often the interval covers the true difference, in simulations of live traffic.

    Args:
        share_labelled: of the disagreements, drawn at random.
        texts: number of texts that are compared.
        disagreeing: share of the traffic on which the versions disagree.
        better: share of these that the shadow has right.
        worse: share of these that the version in service has right.
    """
    random = np.random.default_rng(0)
    truth = disagreeing * (better - worse)
    covered = 0
    for _ in range(RUNS):
        disagreements = int(random.binomial(texts, disagreeing))
        gains = random.choice([1, -1, 0], disagreements, p=[better, worse, 1 - better - worse])
        labelled = gains[: max(1, round(share_labelled * disagreements))]
        low, high = LiveComparison(
            texts, disagreements, disagreements, labelled, np.ones(len(labelled), np.int64)
        ).interval
        covered += low <= truth <= high
    return covered / RUNS


@pytest.mark.parametrize("share_labelled", [1, 0.1])
@pytest.mark.parametrize(
    ("texts", "disagreeing", "better", "worse"),
    [(1_000, 0.05, 0.5, 0.4), (1_000, 0.2, 0.75, 0), (10_000, 0.02, 0.875, 0.125), (10_000, 0.2, 0.25, 0.125)],
)
def test_the_interval_covers_the_true_difference(
    share_labelled: float, texts: int, disagreeing: float, better: float, worse: float
) -> None:
    assert coverage(share_labelled, texts=texts, disagreeing=disagreeing, better=better, worse=worse) >= COVERAGE


def test_the_interval_covers_the_true_difference_where_texts_come_several_times() -> None:
    random = np.random.default_rng(0)
    frequency = random.zipf(2.5, 200).clip(max=5)  # of the texts on which the versions disagree
    gains = random.choice([1, -1, 0], 200, p=[0.5, 0.3, 0.2])
    shares = 0.2 * frequency / frequency.sum()
    truth = float((shares * gains).sum())
    covered = 0
    for _ in range(RUNS):
        counts = random.multinomial(2_000, [*shares, 0.8])[:-1]
        seen = np.flatnonzero(counts)
        labelled = random.choice(seen, len(seen) // 2, replace=False)
        low, high = LiveComparison(2_000, int(counts.sum()), len(seen), gains[labelled], counts[labelled]).interval
        covered += low <= truth <= high
    assert covered / RUNS >= COVERAGE


def test_with_all_labels_it_is_the_comparison_on_all_texts() -> None:
    gains = np.array([1] * 30 + [-1] * 12 + [0] * 8)
    live = LiveComparison(1_000, 50, 50, gains, np.ones(50, np.int64))
    whole = AccuracyComparison(both_right=700, only_a=12, only_b=30, both_wrong=258)
    assert live.difference == pytest.approx(whole.difference)
    assert live.interval == pytest.approx(whole.interval)
    assert live.p_value == whole.p_value
    assert live.verdict == whole.verdict == "better"


@pytest.mark.parametrize(
    ("gains", "verdict"), [([1] * 20, "better"), ([-1] * 20, "worse"), ([1] * 3, "undecided"), ([0] * 20, "undecided")]
)
def test_the_verdict_takes_evidence(gains: list[int], verdict: str) -> None:
    live = LiveComparison(500, len(gains), len(gains), np.array(gains), np.ones(len(gains), np.int64))
    assert live.verdict == verdict
    assert f"on 500 texts; labels for {len(gains)} of {len(gains)} disagreements" in live.sentence("a", "b")


def test_fewer_labels_widen_the_interval() -> None:
    gains = np.array([1, -1, 1, 0] * 25)
    widths = []
    for labelled in (100, 50, 10):
        low, high = LiveComparison(2_000, 100, 100, gains[:labelled], np.ones(labelled, np.int64)).interval
        widths.append(high - low)
    assert widths == sorted(widths)
    assert len(set(widths)) == 3


def test_with_a_part_of_the_labels_the_interval_is_that_of_double_sampling() -> None:
    # By hand: gains 1, 1, 0 (twice) and the two that are added, 1 and -1; the second phase has 3 of 4 different texts.
    live = LiveComparison(98, 8, 4, np.array([1, 1, 0]), np.array([1, 1, 2]))
    share, mean = 10 / 100, (1 + 1 + 1 - 1) / 6
    of_traffic = (share * 4 / 6 - (share * mean) ** 2) / 100
    squares = 3 * (1 - mean) ** 2 + (2 * mean) ** 2 + (-1 - mean) ** 2
    of_labels = share**2 * (1 - 3 / 4) * squares / 6**2 * 5 / 4
    margin = 2.7764451 * (of_traffic + of_labels) ** 0.5  # of t with 4 degrees of freedom
    assert live.interval == pytest.approx((share * mean - margin, share * mean + margin), abs=1e-6)
    assert live.difference == pytest.approx(8 / 98 * 2 / 4)
    assert live.labelled == 4


def test_the_difference_stays_between_minus_one_and_one() -> None:
    low, high = (LiveComparison(5, 5, 5, np.full(5, gain), np.ones(5, np.int64)).interval for gain in (-1, 1))
    assert (low[0], high[1]) == (-1, 1)


def test_texts_that_neither_has_right_are_no_evidence() -> None:
    live = LiveComparison(500, 20, 20, np.zeros(20, np.int64), np.ones(20, np.int64))
    assert live.p_value == 1
    assert LiveComparison(500, 3, 3, np.array([1, 1, -1]), np.ones(3, np.int64)).p_value == 1
    assert LiveComparison(500, 6, 6, np.array([1] * 6), np.ones(6, np.int64)).p_value == 1 / 32
