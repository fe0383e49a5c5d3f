"""Abstention: finds the probability from which a label is right with a wanted precision, and measures how many texts
reach it.

Thresholds are found on validation texts and stored with the version. A request may ask to mark answers below them. This
is selective classification (Chow, "On Optimum Recognition Error and Reject Tradeoff", IEEE Transactions on Information
Theory 16(1), 1970).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression

from textfiles import counted, listed
from textmodel.metadata import Abstention
from training.evaluation.metrics import Answers

UNREACHABLE = 2.0
"""The threshold of a label that never reaches the precision: no probability is as high."""
PRIOR_TEXTS = 100
"""Weight of the calibrated probabilities as a prior, in validation texts. The prior decides for rare labels, where a
few right answers in a row say little. For frequent labels the validation texts decide."""


@dataclass(frozen=True)
class SelectiveMetrics:
    """How many texts are answered, and how many of them rightly, if answers below the thresholds are left out."""

    texts: int
    """Number of all texts."""
    answered: int
    """Number of texts whose answer reaches the threshold of its label."""
    right: int
    """Number of answered texts whose label is right."""

    @property
    def coverage(self) -> float:
        """Share of the texts that are answered."""
        return self.answered / self.texts

    @property
    def precision(self) -> float:
        """Share of the answers that are right; 1 without answers."""
        return self.right / self.answered if self.answered else 1.0

    @property
    def interval(self) -> tuple[float, float]:
        """The precision's interval at 95% confidence (Wilson, 1927)."""
        if not self.answered:
            return 0.0, 1.0
        low, high = binomtest(self.right, self.answered).proportion_ci(method="wilson")
        return float(low), float(high)

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"coverage {self.coverage:.4f}, precision {self.precision:.4f} (95% interval {low:.4f} to {high:.4f}), on"
            f" {counted(self.texts, 'text')}"
        )


def find_abstention(
    probabilities: NDArray[np.float32],
    classes: NDArray[np.int64],
    target_precision: float,
    weights: NDArray[np.float64] | None = None,
) -> Abstention:
    """Finds the probability from which each label is right with the target precision.

    Args:
        probabilities: (n, k), of validation texts.
        classes: (n,), their true classes.
        target_precision: more than 0, less than 1.
        weights: (n,), how much each text counts; None for 1 each.
    """
    answers = Answers.of(probabilities, classes)
    right = answers.predicted == answers.classes
    counted = np.ones(len(classes)) if weights is None else weights
    expected = _calibrated(answers.confidence, right, counted)
    thresholds = [
        _threshold(answers.confidence[mine], right[mine], counted[mine], expected[mine], target_precision)
        for label in range(probabilities.shape[1])
        for mine in [answers.predicted == label]
    ]
    return Abstention(target_precision, tuple(thresholds))


def _calibrated(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns the calibrated probability that each answer is right, (n,), by a logistic regression on the logits of the
    confidence (Platt, "Probabilistic Outputs for Support Vector Machines", 1999).
    """
    if right.all() or not right.any():
        return confidence
    logits = logit(confidence.clip(1e-6, 1 - 1e-6))[:, None]
    model = LogisticRegression(C=1e6).fit(logits, right, weights)
    expected: NDArray[np.float64] = model.predict_proba(logits)[:, 1]
    return expected


def _threshold(
    confidence: NDArray[np.float64],
    right: NDArray[np.bool_],
    weights: NDArray[np.float64],
    prior: NDArray[np.float64],
    target: float,
) -> float:
    """Returns the lowest threshold from which the share of right answers is at least the target. Without answers it is
    the target itself.
    """
    if not len(confidence):
        return target
    order = np.argsort(-confidence, kind="stable")
    ordered, count = confidence[order], np.cumsum(weights[order])
    expected = PRIOR_TEXTS * np.cumsum((prior * weights)[order]) / count
    precision = (np.cumsum((right * weights)[order]) + expected) / (count + PRIOR_TEXTS)
    # A threshold lies between two different probabilities, or between the last one and 0.
    following = np.append(ordered[1:], 0.0)
    reached = np.flatnonzero((following < ordered) & (precision >= target))
    if not len(reached):
        return UNREACHABLE
    last = int(reached[-1])
    return 0.0 if last == len(order) - 1 else float((ordered[last] + following[last]) / 2)


def threshold_warnings(abstention: Abstention, labels: Sequence[str], answers: Sequence[int]) -> list[str]:
    """Returns a warning for each kind of unusual thresholds, one sentence each.

    Args:
        abstention: the thresholds.
        labels: in the order of the classes.
        answers: how many validation texts got each label.
    """
    every = list(zip(labels, abstention.thresholds, answers, strict=True))
    never = [label for label, threshold, _ in every if threshold == UNREACHABLE]
    always = [label for label, threshold, _ in every if threshold == 0]
    few = [label for label, threshold, count in every if count < PRIOR_TEXTS and threshold not in (0, UNREACHABLE)]
    target = f"the precision {abstention.target_precision:g}"
    found = []
    if never:
        found.append(
            f"labels that never reach {target}: {listed(never)}: with the thresholds, all their answers abstain"
        )
    if always:
        found.append(
            f"labels with the threshold 0: {listed(always)}: all their answers together reach {target}, so none of them"
            " abstains"
        )
    if few:
        found.append(
            f"labels that the model gave to fewer than {PRIOR_TEXTS} validation texts: {listed(few)}: their thresholds"
            " rest mostly on how well all labels together are calibrated"
        )
    return found


def selective_metrics(answers: Answers, thresholds: Sequence[float]) -> SelectiveMetrics:
    """Measures answers, without those below the threshold of their label."""
    answered = answers.confidence >= np.array(thresholds)[answers.predicted]
    right = answered & (answers.predicted == answers.classes)
    return SelectiveMetrics(len(answered), int(answered.sum()), int(right.sum()))
