"""Compares two versions on the same texts: the difference of a metric, its confidence interval and its p-value."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import binomtest, norm

from textfiles import counted

SIGNIFICANCE = 0.05
"""A p-value below this is evidence. Intervals have 95% confidence."""

Verdict = Literal["better", "worse", "undecided"]

_RESAMPLES = 2000
_BLOCK_COUNTS = 1 << 22
"""Maximum number of counts of resamples in memory at a time."""


class Comparison(ABC):
    """The comparison of two versions, A and B, by one metric on the same texts, of which there is at least one."""

    metric: str
    test: str
    """The name of the statistical test that gives the p-value."""

    @property
    @abstractmethod
    def texts(self) -> int:
        """The number of texts."""

    @property
    @abstractmethod
    def scores(self) -> tuple[float, float]:
        """The metric of A and of B."""

    @property
    @abstractmethod
    def interval(self) -> tuple[float, float]:
        """The 95% confidence interval of the difference."""

    @property
    @abstractmethod
    def p_value(self) -> float:
        """The two-sided p-value: how often equally good versions would differ this much or more."""

    @property
    def difference(self) -> float:
        """The metric of B minus that of A."""
        a, b = self.scores
        return b - a

    @property
    def verdict(self) -> Verdict:
        """Whether B is better or worse than A: undecided unless the interval excludes 0 and the test agrees.

        On a handful of texts, the interval alone would decide too soon.
        """
        return decide(self.interval, self.p_value)

    def sentence(self, a: str, b: str) -> str:
        """Returns the verdict and its evidence. `a` and `b` are the names of the versions."""
        verdict = in_words(self.verdict, a, b)
        (of_a, of_b), (low, high) = self.scores, self.interval
        texts = counted(self.texts, "text")
        return (
            f"{verdict}: {self.metric} {of_b:.4f} instead of {of_a:.4f}, difference {self.difference:+.4f} (95%"
            f" interval {low:+.4f} to {high:+.4f}), {self.test} p = {self.p_value:.2g}, on {texts}"
        )


@dataclass(frozen=True)
class AccuracyComparison(Comparison):
    """The comparison by accuracy. An answer is right if it is the true label, whatever its probability."""

    both_right: int
    only_a: int
    """Number of texts on which only A is right."""
    only_b: int
    both_wrong: int

    metric = "accuracy"
    test = "McNemar's exact"

    @classmethod
    def of(cls, right_a: NDArray[np.bool_], right_b: NDArray[np.bool_]) -> "AccuracyComparison":
        """Counts the answers of A and B, given as whether each is right, (n,)."""
        return cls(
            int((right_a & right_b).sum()),
            int((right_a & ~right_b).sum()),
            int((~right_a & right_b).sum()),
            int((~right_a & ~right_b).sum()),
        )

    @property
    def texts(self) -> int:
        """The number of texts."""
        return self.both_right + self.only_a + self.only_b + self.both_wrong

    @property
    def scores(self) -> tuple[float, float]:
        """The accuracies of A and of B."""
        return (self.both_right + self.only_a) / self.texts, (self.both_right + self.only_b) / self.texts

    @property
    def interval(self) -> tuple[float, float]:
        """The Wald interval with one text added to `only_a` and to `only_b` (Bonett and Price, "Adjusted Wald
        Confidence Interval for a Difference of Binomial Proportions Based on Paired Data", Journal of Educational and
        Behavioral Statistics 37(4), 2012).
        """
        n = self.texts + 2
        a, b = (self.only_a + 1) / n, (self.only_b + 1) / n
        margin = float(norm.ppf(1 - SIGNIFICANCE / 2)) * math.sqrt((a + b - (b - a) ** 2) / n)
        return max(b - a - margin, -1), min(b - a + margin, 1)

    @property
    def p_value(self) -> float:
        """The p-value of McNemar's exact test (McNemar, "Note on the Sampling Error of the Difference Between
        Correlated Proportions or Percentages", Psychometrika 12, 1947; its exact form is the sign test). It is 1 if
        both versions are right on the same texts.
        """
        differing = self.only_a + self.only_b
        return float(binomtest(self.only_b, differing).pvalue) if differing else 1.0


class MacroF1Comparison(Comparison):
    """The comparison by macro-F1, the mean F1 of the labels that occur in the texts.

    Args:
        classes: (n,), the true class of each text.
        predicted_a: (n,), the class that A predicts for each text.
        predicted_b: (n,), the class that B predicts for each text.
    """

    metric = "macro-F1"
    test = "randomization"

    def __init__(
        self, classes: NDArray[np.int64], predicted_a: NDArray[np.int64], predicted_b: NDArray[np.int64]
    ) -> None:
        answers = np.stack([classes, predicted_a, predicted_b])
        # Texts with the same true class and the same answers are exchangeable, so their number is enough.
        kinds, self._counts = np.unique(answers, axis=1, return_counts=True)
        used, compact = np.unique(kinds, return_inverse=True)
        self._true, self._a, self._b = compact.reshape(kinds.shape)
        self._classes = len(used)
        self._random_seed = 0

    @property
    def texts(self) -> int:
        """The number of texts."""
        return int(self._counts.sum())

    @cached_property
    def scores(self) -> tuple[float, float]:
        """The macro-F1 of A and of B."""
        counts = self._counts[np.newaxis]
        return float(self._macro_f1(counts, self._a)[0]), float(self._macro_f1(counts, self._b)[0])

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The percentile interval of the paired bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap",
        1993, chapter 13), with 2,000 resamples.
        """
        random = np.random.default_rng(self._random_seed)
        shares = self._counts / self.texts
        differences = [
            self._macro_f1(counts, self._b) - self._macro_f1(counts, self._a)
            for counts in (random.multinomial(self.texts, shares, size) for size in self._block_sizes())
        ]
        low, high = np.quantile(np.concatenate(differences), [SIGNIFICANCE / 2, 1 - SIGNIFICANCE / 2])
        return float(low), float(high)

    @cached_property
    def p_value(self) -> float:
        """The p-value of approximate randomization with 2,000 samples. Each exchanges the answers of A and B on random
        texts (Yeh, "More Accurate Tests for the Statistical Significance of Result Differences", COLING 2000).
        """
        random = np.random.default_rng(self._random_seed)
        as_large = 0
        for size in self._block_sizes():
            kept = random.binomial(self._counts, 0.5, (size, len(self._counts)))
            exchanged = self._counts - kept
            a = self._macro_f1(kept, self._a, exchanged, self._b)
            b = self._macro_f1(kept, self._b, exchanged, self._a)
            as_large += int((np.abs(b - a) >= abs(self.difference) - 1e-12).sum())
        return (as_large + 1) / (_RESAMPLES + 1)

    def _block_sizes(self) -> Iterator[int]:
        size = max(1, _BLOCK_COUNTS // max(len(self._counts), self._classes))
        for done in range(0, _RESAMPLES, size):
            yield min(size, _RESAMPLES - done)

    def _macro_f1(
        self,
        counts: NDArray[np.int64],
        predicted: NDArray[np.int64],
        other_counts: NDArray[np.int64] | None = None,
        other_predicted: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float64]:
        """Returns the macro-F1 of each resample, (resamples,).

        Args:
            counts: (resamples, kinds), the number of texts of each kind.
            predicted: (kinds,), the answer to the texts of each kind.
            other_counts: (resamples, kinds), the number of further texts of each kind, which have other answers.
            other_predicted: (kinds,), these answers.
        """
        right = self._by_class(counts * (predicted == self._true), self._true)
        support = self._by_class(counts, self._true)
        answers = self._by_class(counts, predicted)
        if other_counts is not None and other_predicted is not None:
            right += self._by_class(other_counts * (other_predicted == self._true), self._true)
            support += self._by_class(other_counts, self._true)
            answers += self._by_class(other_counts, other_predicted)
        f1 = 2 * right / np.maximum(support + answers, 1)
        occur = support > 0
        return np.asarray((f1 * occur).sum(axis=1) / np.maximum(occur.sum(axis=1), 1))

    def _by_class(self, counts: NDArray[np.int64], classes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns the sum of the counts by class, (resamples, classes)."""
        kinds = csr_array((np.ones(len(classes)), (np.arange(len(classes)), classes)), (len(classes), self._classes))
        return np.asarray(counts @ kinds)


def decide(interval: tuple[float, float], p_value: float) -> Verdict:
    """Returns the verdict on B, by the confidence interval and the p-value of its difference from A."""
    low, high = interval
    if low <= 0 <= high or p_value >= SIGNIFICANCE:
        return "undecided"
    return "better" if low > 0 else "worse"


def in_words(verdict: Verdict, a: str, b: str) -> str:
    """Returns the verdict on B in words. `a` and `b` are the names of the versions."""
    return {
        "better": f"{b} is better than {a}",
        "worse": f"{b} is worse than {a}",
        "undecided": f"it is undecided whether {b} is better or worse than {a}",
    }[verdict]
