"""Compares a shadow version with the version in service on live traffic, from the true labels of a few texts.

Texts to which two versions give the same label do not change the difference of their accuracies. So true labels are
needed only for the texts on which they disagree, or for a random sample of these. Of all other texts, the number is
enough.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm, t

from textfiles import counted
from training.evaluation.comparison import SIGNIFICANCE, Verdict, decide, in_words


@dataclass(frozen=True)
class LiveComparison:
    """The comparison of two versions on live traffic. A is the version in service, B its shadow."""

    texts: int
    """Number of texts that were compared."""
    disagreements: int
    """Number of these texts to which the versions give different labels."""
    different_texts: int
    """Number of different texts among the disagreements."""
    gains: NDArray[np.int64]
    """(m,), for each different text with a true label: 1 if B is right, -1 if A is right, 0 if neither is."""
    counts: NDArray[np.int64]
    """(m,), the number of disagreements with this text."""

    @property
    def labelled(self) -> int:
        """Number of disagreements that have a true label."""
        return int(self.counts.sum())

    @property
    def difference(self) -> float:
        """Accuracy of B minus that of A: the share of disagreements, times the mean gain of the labelled ones."""
        return self.disagreements / self.texts * float(np.average(self.gains, weights=self.counts))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% confidence interval of the difference.

        The texts are a sample of the traffic, and the labelled texts are a sample of the disagreements. The variance of
        such double sampling is the sum of the variances of both phases (Cochran, "Sampling Techniques", 3rd edition,
        1977, chapter 12). Copies of a text are a cluster with one label. As in `AccuracyComparison.interval`, one text
        is added to those on which only A is right, and one to those of B. If all disagreements are labelled and none
        occurs twice, both intervals are equal.
        """
        gains, counts = np.append(self.gains, [1, -1]), np.append(self.counts, [1, 1])
        texts = self.texts + 2
        share = (self.disagreements + 2) / texts
        mean = float(np.average(gains, weights=counts))
        difference = share * mean
        of_traffic = (share * float(np.average(gains**2, weights=counts)) - difference**2) / texts
        residuals = counts * (gains - mean)
        unlabelled = 1 - len(self.gains) / self.different_texts
        of_labels = share**2 * unlabelled * float((residuals**2).sum()) / counts.sum() ** 2
        if unlabelled:  # the spread is estimated from a small sample
            size = len(gains)
            of_labels *= size / (size - 1)
            quantile = float(t.ppf(1 - SIGNIFICANCE / 2, size - 1))
        else:
            quantile = float(norm.ppf(1 - SIGNIFICANCE / 2))
        margin = quantile * math.sqrt(max(of_traffic, 0) + max(of_labels, 0))
        return max(difference - margin, -1), min(difference + margin, 1)

    @property
    def p_value(self) -> float:
        """The two-sided p-value of McNemar's exact test on the labelled texts: see `AccuracyComparison.p_value`."""
        better, worse = int((self.gains > 0).sum()), int((self.gains < 0).sum())
        return float(binomtest(better, better + worse).pvalue) if better + worse else 1.0

    @property
    def verdict(self) -> Verdict:
        """Whether B is better or worse than A: undecided unless the interval excludes 0 and the exact test agrees."""
        return decide(self.interval, self.p_value)

    def sentence(self, a: str, b: str) -> str:
        """Returns the verdict and its evidence. `a` and `b` are the names of the versions."""
        said = in_words(self.verdict, a, b)
        low, high = self.interval
        return (
            f"{said}: difference of accuracy {self.difference:+.4f} (95% interval {low:+.4f} to {high:+.4f}), McNemar's"
            f" exact p = {self.p_value:.2g}, on {counted(self.texts, 'text')}; labels for"
            f" {self.labelled:,} of {counted(self.disagreements, 'disagreement')}"
        )
