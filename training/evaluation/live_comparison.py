"""Whether a shadow version is better than the version in service, on live traffic, from labels of a few texts.

Where two versions give the same label their accuracies do not differ. So true labels are needed only for the texts on
which they disagree, or for a random sample of these; the number of all texts that were compared does the rest.
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
    """Two versions on live traffic. A is the version in service, B its shadow."""

    texts: int
    """Number of texts that were compared."""
    disagreements: int
    """On how many of them the versions give different labels."""
    different_texts: int
    """How many different texts these are."""
    gains: NDArray[np.int64]
    """(m,), of each different text of them that has a true label: 1 if B is right, -1 if A is, 0 if neither is."""
    counts: NDArray[np.int64]
    """(m,), how often that text came."""

    @property
    def labelled(self) -> int:
        """Number of disagreements that have a true label."""
        return int(self.counts.sum())

    @property
    def difference(self) -> float:
        """Accuracy of B less that of A: the share of disagreements, times the mean gain of the labelled ones."""
        return self.disagreements / self.texts * float(np.average(self.gains, weights=self.counts))

    @property
    def interval(self) -> tuple[float, float]:
        """The difference's interval at 95% confidence.

        Texts are a sample of the traffic, and labelled texts one of the disagreements: double sampling, whose variance
        is the sum of both phases' (Cochran, "Sampling Techniques", 3rd edition, 1977, chapter 12). Copies of one text
        are a cluster with one label. As in `AccuracyComparison.interval` one text is added to each of the two counts of
        texts that differ: where all disagreements have a label and none comes twice, the two intervals are the same.
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
        """Of McNemar's exact test, two-sided, on the labelled texts: see `AccuracyComparison.p_value`."""
        better, worse = int((self.gains > 0).sum()), int((self.gains < 0).sum())
        return float(binomtest(better, better + worse).pvalue) if better + worse else 1.0

    @property
    def verdict(self) -> Verdict:
        """What B is beside A: undecided unless the interval leaves out 0 and the exact test agrees."""
        return decide(self.interval, self.p_value)

    def sentence(self, a: str, b: str) -> str:
        """Says the verdict and its evidence, with these names of the two."""
        said = in_words(self.verdict, a, b)
        low, high = self.interval
        return (
            f"{said}: difference of accuracy {self.difference:+.4f} (95% interval {low:+.4f} to {high:+.4f}), McNemar's"
            f" exact p = {self.p_value:.2g}, on {counted(self.texts, 'text')}; labels for"
            f" {self.labelled:,} of {counted(self.disagreements, 'disagreement')}"
        )
