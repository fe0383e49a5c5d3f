import math

import numpy as np
import pytest
from sklearn.metrics import f1_score

from training.evaluation import comparison
from training.evaluation.comparison import AccuracyComparison, MacroF1Comparison, Verdict, decide, in_words
from training.evaluation.metrics import evaluate


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


def _answers(texts: int, classes: int, right: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns true classes, rare and frequent ones, and predictions of which about the share is right."""
    random = np.random.default_rng(seed)
    truth = np.minimum(random.geometric(0.4, texts) - 1, classes - 1)
    predicted = np.where(random.random(texts) < right, truth, random.integers(0, classes, texts))
    return truth, predicted


@pytest.mark.parametrize("classes", [2, 5, 40])
def test_macro_f1_is_that_of_scikit_learn_on_the_labels_that_occur(classes: int) -> None:
    truth, a = _answers(500, classes, 0.7, 1)
    b = np.where(np.arange(500) % 3 == 0, truth, a)
    occur = np.unique(truth)
    expected = [f1_score(truth, some, labels=occur, average="macro", zero_division=0) for some in (a, b)]
    assert [macro_f1(truth, some) for some in (a, b)] == pytest.approx(expected)
    result = MacroF1Comparison(truth, a, b)
    assert result.scores == pytest.approx(expected)
    assert result.texts == 500
    assert evaluate_predictions(truth, b, classes) == pytest.approx(expected[1])


def macro_f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    """By definition, in a hundredth of the time that scikit-learn takes."""
    found = [(truth == label, predicted == label) for label in np.unique(truth)]
    return float(np.mean([2 * (right & said).sum() / (right.sum() + said.sum()) for right, said in found]))


def evaluate_predictions(truth: np.ndarray, predicted: np.ndarray, classes: int) -> float:
    return evaluate(np.eye(classes, dtype=np.float32)[predicted], truth).macro_f1


def test_the_interval_of_macro_f1_is_that_of_resampled_texts() -> None:
    truth, a = _answers(300, 4, 0.6, 2)
    _, b = _answers(300, 4, 0.8, 2)
    random = np.random.default_rng(5)
    differences = []
    for _ in range(1000):
        rows = random.integers(0, 300, 300)
        differences.append(macro_f1(truth[rows], b[rows]) - macro_f1(truth[rows], a[rows]))
    interval = MacroF1Comparison(truth, a, b).interval
    assert interval == pytest.approx(np.quantile(differences, [0.025, 0.975]), abs=0.02)


def test_macro_f1_tells_a_version_that_finds_a_rare_label_from_one_that_does_not() -> None:
    truth = np.repeat([0, 1], [950, 50])
    common = np.zeros(1000, np.int64)
    rare = np.where(np.arange(1000) >= 910, 1, 0)  # has the rare label right, and 40 of the others wrong
    assert MacroF1Comparison(truth, common, rare).verdict == "better"
    assert MacroF1Comparison(truth, rare, common).verdict == "worse"
    assert AccuracyComparison.of(common == truth, rare == truth).verdict == "undecided"


@pytest.mark.parametrize("texts", [1, 2, 5])
def test_a_handful_of_texts_decides_nothing_about_macro_f1(texts: int) -> None:
    truth = np.arange(texts) % 2
    result = MacroF1Comparison(truth, 1 - truth, truth)
    assert result.scores == (0, 1)
    assert result.verdict == "undecided"


def test_equal_versions_are_undecided_about_macro_f1() -> None:
    truth, a = _answers(200, 3, 0.7, 3)
    result = MacroF1Comparison(truth, a, a)
    assert (result.difference, result.p_value, result.verdict) == (0, 1, "undecided")


def test_the_p_value_of_macro_f1_is_about_that_of_exchanged_answers() -> None:
    truth, a = _answers(80, 3, 0.6, 4)
    _, b = _answers(80, 3, 0.7, 4)
    result = MacroF1Comparison(truth, a, b)
    random = np.random.default_rng(6)
    as_large = 0
    for _ in range(1000):
        exchanged = random.random(80) < 0.5
        of_a, of_b = np.where(exchanged, b, a), np.where(exchanged, a, b)
        as_large += abs(macro_f1(truth, of_b) - macro_f1(truth, of_a)) >= abs(result.difference) - 1e-12
    assert result.p_value == pytest.approx(as_large / 1000, abs=0.05)


@pytest.mark.parametrize(
    ("interval", "p_value", "verdict"),
    [
        ((0.001, 0.2), 0.0499, "better"),
        ((-0.2, -0.001), 0.0499, "worse"),
        ((0.001, 0.2), 0.05, "undecided"),
        ((0.0, 0.2), 0.01, "undecided"),
        ((-0.2, 0.0), 0.01, "undecided"),
        ((-0.1, 0.2), 0.01, "undecided"),
    ],
)
def test_a_verdict_takes_an_interval_without_zero_and_a_p_value_below_5_percent(
    interval: tuple[float, float], p_value: float, verdict: Verdict
) -> None:
    assert decide(interval, p_value) == verdict


def test_a_verdict_names_the_version_that_is_judged_first() -> None:
    assert [in_words(verdict, "old", "new") for verdict in ("better", "worse", "undecided")] == [
        "new is better than old",
        "new is worse than old",
        "it is undecided whether new is better or worse than old",
    ]


def test_the_p_value_of_macro_f1_counts_the_answers_themselves_as_one_sample_of_2001() -> None:
    truth = np.arange(400) % 2
    assert MacroF1Comparison(truth, 1 - truth, truth).p_value == 1 / 2001


def test_evidence_of_macro_f1_does_not_depend_on_how_many_resamples_are_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    truth, a = _answers(50, 3, 0.6, 4)
    _, b = _answers(50, 3, 0.7, 4)
    together = MacroF1Comparison(truth, a, b)
    expected = together.interval, together.p_value
    monkeypatch.setattr(comparison, "_BLOCK_COUNTS", 1000)
    apart = MacroF1Comparison(truth, a, b)
    sizes = list(apart._block_sizes())
    assert sum(sizes) == 2000
    assert len(sizes) > 5
    assert (apart.interval, apart.p_value) == expected
