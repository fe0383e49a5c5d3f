"""Estimates which labels are probably wrong, from logits of classifiers that have not learned them.

As in confident learning (Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels",
Journal of Artificial Intelligence Research 70, 2021), labels are assumed to be wrong at random, independently of the
text (Angluin and Laird, "Learning from Noisy Examples", Machine Learning 2, 1988). Unlike there, all labels are wrong
at the same rate, and all other labels are then equally likely. The rate is fitted together with the calibration. This
gives each label a probability of being wrong, which does not count texts that the classifier merely finds hard.
`python -m benchmarks.labels check` compares the two methods.
"""

from collections import defaultdict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from training.classifiers import temperature_scaling
from training.classifiers.temperature_scaling import Calibration

MIN_RATE = 0.033
"""The mean share of wrong labels in ten public test sets (Northcutt, Athalye and Mueller, "Pervasive Label Errors in
Test Sets Destabilize Machine Learning Benchmarks", NeurIPS 2021). A few thousand texts cannot distinguish lower
rates."""
MIN_PROBABILITY = 0.1
"""Labels with a lower probability of being wrong are never listed."""
_MAX_RATE = 0.4
_BOUNDS = ((-7, 7), (-20, 20), (np.log(MIN_RATE), np.log(_MAX_RATE)))
"""Bounds of the fit: of the logarithm of the temperature, of the shift, and of the logarithm of the rate."""
_PRIOR = (2.0, 8.0, 0.0)
"""Half the precision of the normal prior of each of the three, as in `training.classifiers.temperature_scaling`."""
_FIT_TEXTS = 2_000
"""The noise is fitted to a random sample of at least this number of texts."""
_FIT_LOGITS = 500_000
"""A larger sample is drawn as long as its texts have at most this number of logits together."""
_ROWS = 1 << 14
"""Number of rows that are judged at a time."""


class Noise(NamedTuple):
    """The calibration of the logits, and the rate of wrong labels."""

    calibration: Calibration
    rate: float
    """Share of the labels that are wrong."""

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Returns each class's probability of being the right one, (texts, classes), for logits (texts, units)."""
        temperature, shift = self.calibration
        return temperature_scaling.probabilities(logits.astype(np.float64) / temperature + shift)


def fit(logits: NDArray[np.float32], classes: NDArray[np.int64], seed: int = 0) -> Noise:
    """Returns the most likely noise.

    Args:
        logits: (texts, units), of texts that the classifier was not fitted on.
        classes: (texts,), the given labels.
        seed: draws the sample, if there are more texts than it takes.
    """
    texts, units = logits.shape
    rows = np.random.default_rng(seed).permutation(texts)[: max(_FIT_TEXTS, _FIT_LOGITS // units)]
    some, mine, others = logits[rows], classes[rows], max(units, 2) - 1

    def noise(parameters: NDArray[np.float64]) -> Noise:
        temperature, shift, rate = parameters
        return Noise(Calibration(float(np.exp(temperature)), float(shift)), float(np.exp(rate)))

    def loss(parameters: NDArray[np.float64]) -> float:
        found = noise(parameters)
        right = found.probabilities(some)[np.arange(len(rows)), mine]
        given = (1 - found.rate) * right + found.rate * (1 - right) / others
        return float((np.square(parameters) @ _PRIOR - np.log(given).sum()) / len(rows))

    start = np.array([0.0, 0.0, np.log(MIN_RATE)])
    return noise(minimize(loss, start, method="L-BFGS-B", bounds=_BOUNDS, options={"ftol": 1e-7}).x)


class Verdicts(NamedTuple):
    """The verdict on the label of each row."""

    wrong: NDArray[np.float64]
    """(rows,), the probability that the label is wrong."""
    suggested: NDArray[np.int64]
    """(rows,), the most probable of the other classes."""


def judge(logits: NDArray[np.float32], classes: NDArray[np.int64], texts: NDArray[np.uint64], noise: Noise) -> Verdicts:
    """Judges labels by Bayes' rule, from the classifier's probabilities and the rate of wrong labels.

    Copies of a text have one right class. If all have the same label, they count as one row, since rows are copied with
    their labels. If they have different labels, each row is a vote.

    Args:
        logits: (rows, units)
        classes: (rows,), the given labels.
        texts: (rows,), equal for copies of a text.
        noise: the calibration and the rate of wrong labels.
    """
    found = Verdicts(np.empty(len(classes)), np.empty(len(classes), np.int64))

    def put(rows: NDArray[np.int64], right: NDArray[np.float64], votes: NDArray[np.integer | np.bool_]) -> None:
        with np.errstate(divide="ignore"):
            logs = np.log(right) + votes * np.log((1 - noise.rate) * (right.shape[1] - 1) / noise.rate)
        chances = np.exp(logs - logs.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        given = np.arange(len(rows)), classes[rows]
        found.wrong[rows] = 1 - chances[given]
        chances[given] = -1
        found.suggested[rows] = chances.argmax(axis=1)

    for first in range(0, len(classes), _ROWS):
        rows = np.arange(first, min(first + _ROWS, len(classes)))
        right = noise.probabilities(logits[rows])
        put(rows, right, np.arange(right.shape[1]) == classes[rows, np.newaxis])
    for some in _contradicting(classes, texts):
        right = np.tile(noise.probabilities(logits[some]).mean(axis=0), (len(some), 1))
        put(np.array(some), right, np.bincount(classes[some], minlength=right.shape[1]))
    return found


def _contradicting(classes: NDArray[np.int64], texts: NDArray[np.uint64]) -> list[list[int]]:
    """Returns, for each text with several labels, its rows."""
    rows: dict[int, list[int]] = defaultdict(list)
    for at, text in enumerate(texts.tolist()):
        rows[text].append(at)
    return [some for some in rows.values() if len(set(classes[some].tolist())) > 1]


def listed(wrong: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns the rows to look at, the most probably wrong first. Their number is the one with the highest expected F1
    of the list (Lewis, "Evaluating and Optimizing Autonomous Text Classification Systems", SIGIR 1995).

    Args:
        wrong: (rows,), the probability that the label is wrong.
    """
    order = np.argsort(-wrong, kind="stable")
    falling = wrong[order]
    f1 = 2 * np.cumsum(falling) / (np.arange(1, len(wrong) + 1) + falling.sum())
    count = int(f1.argmax()) + 1
    return order[:count][falling[:count] >= MIN_PROBABILITY]
