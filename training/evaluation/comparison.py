"""Whether one version is better than another, on the same texts: the paired difference of their accuracies."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

SIGNIFICANCE = 0.05
"""Intervals are at 95% confidence, and a p-value below this is evidence."""

Verdict = Literal["better", "worse", "undecided"]


@dataclass(frozen=True)
class Comparison:
    """Two versions on the same n texts, at least one. "Right" is the true label, whatever its probability."""

    both_right: int
    only_a: int
    """Texts that A alone has right."""
    only_b: int
    both_wrong: int

    @classmethod
    def of(cls, right_a: NDArray[np.bool_], right_b: NDArray[np.bool_]) -> "Comparison":
        """Counts answers, each (n,), whether right."""
        return cls(
            int((right_a & right_b).sum()),
            int((right_a & ~right_b).sum()),
            int((~right_a & right_b).sum()),
            int((~right_a & ~right_b).sum()),
        )

    @property
    def texts(self) -> int:
        """How many texts there are."""
        return self.both_right + self.only_a + self.only_b + self.both_wrong

    @property
    def accuracies(self) -> tuple[float, float]:
        """Of A and of B."""
        return (self.both_right + self.only_a) / self.texts, (self.both_right + self.only_b) / self.texts

    @property
    def difference(self) -> float:
        """Accuracy of B less that of A."""
        return (self.only_b - self.only_a) / self.texts

    @property
    def interval(self) -> tuple[float, float]:
        """The difference's interval at 95% confidence: the Wald interval with one text added to each of the two counts
        that differ (Bonett and Price, "Adjusted Wald Confidence Interval for a Difference of Binomial Proportions Based
        on Paired Data", Journal of Educational and Behavioral Statistics 37(4), 2012).
        """
        n = self.texts + 2
        a, b = (self.only_a + 1) / n, (self.only_b + 1) / n
        margin = float(norm.ppf(1 - SIGNIFICANCE / 2)) * math.sqrt((a + b - (b - a) ** 2) / n)
        return max(b - a - margin, -1), min(b - a + margin, 1)

    @property
    def p_value(self) -> float:
        """Of McNemar's exact test, two-sided: how often equally good versions would differ as much or more on the texts
        that one of them alone has right (McNemar, "Note on the Sampling Error of the Difference Between Correlated
        Proportions or Percentages", Psychometrika 12, 1947; its exact form is the sign test). 1 without such texts.
        """
        differing = self.only_a + self.only_b
        return float(binomtest(self.only_b, differing).pvalue) if differing else 1.0

    @property
    def verdict(self) -> Verdict:
        """What B is beside A: undecided unless the interval leaves out 0 and the exact test agrees.

        On a handful of texts the interval alone would decide too soon.
        """
        low, high = self.interval
        if low <= 0 <= high or self.p_value >= SIGNIFICANCE:
            return "undecided"
        return "better" if low > 0 else "worse"

    def sentence(self, a: str, b: str) -> str:
        """Says the verdict and its evidence, with these names of the two."""
        said = {
            "better": f"{b} is better than {a}",
            "worse": f"{b} is worse than {a}",
            "undecided": f"it is undecided whether {b} is better or worse than {a}",
        }[self.verdict]
        (of_a, of_b), (low, high) = self.accuracies, self.interval
        return (
            f"{said}: accuracy {of_b:.4f} instead of {of_a:.4f}, difference {self.difference:+.4f} (95% interval"
            f" {low:+.4f} to {high:+.4f}), McNemar's exact p = {self.p_value:.2g}, on {self.texts:,} texts"
        )
