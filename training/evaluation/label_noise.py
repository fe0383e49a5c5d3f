"""Which labels are probably wrong, by logits of classifiers that have not learned them.

As in confident learning (Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels",
Journal of Artificial Intelligence Research 70, 2021) a label is wrong by chance, independent of the text (Angluin and
Laird, "Learning from Noisy Examples", Machine Learning 2, 1988). Here each label is wrong at one rate, and each of the
other labels is as likely then. The rate is fitted together with the calibration. So each label has a probability of
being wrong, which leaves out what the classifier finds hard; `python -m benchmarks.labels check` compares the two.
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
Test Sets Destabilize Machine Learning Benchmarks", NeurIPS 2021). A few thousand texts tell no lower rates apart."""
MIN_PROBABILITY = 0.1
"""Labels that are wrong with a lower probability are never listed."""
_MAX_RATE = 0.4
_BOUNDS = ((-7, 7), (-20, 20), (np.log(MIN_RATE), np.log(_MAX_RATE)))
"""Bounds of the fit: of the logarithm of the temperature, of the shift, and of the logarithm of the rate."""
_PRIOR = (2.0, 8.0, 0.0)
"""Half the precisions of the prior of the same three, as in `training.classifiers.temperature_scaling`."""
_FIT_TEXTS = 2_000
_FIT_LOGITS = 500_000
"""The noise is fitted to as many texts, drawn at random, as have so many logits, or to the former number."""
_ROWS = 1 << 14
"""Rows that are judged at a time."""


class Noise(NamedTuple):
    """How logits become probabilities of the right class, and how often a label is not that."""

    calibration: Calibration
    rate: float

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Returns the probabilities of the right class, (texts, classes), of logits (texts, units)."""
        temperature, shift = self.calibration
        return temperature_scaling.probabilities(logits.astype(np.float64) / temperature + shift)


def fit(logits: NDArray[np.float32], classes: NDArray[np.int64], seed: int = 0) -> Noise:
    """Returns the likeliest noise.

    Args:
        logits: (texts, units), of texts that the classifier was not fitted on.
        classes: (texts,), the given labels.
        seed: of the draw of texts, if there are many.
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
    """What is to be said of the label of each row."""

    wrong: NDArray[np.float64]
    """(rows,), the probability that it is wrong."""
    suggested: NDArray[np.int64]
    """(rows,), the likeliest of the other classes."""


def judge(logits: NDArray[np.float32], classes: NDArray[np.int64], texts: NDArray[np.uint64], noise: Noise) -> Verdicts:
    """Judges labels by Bayes' rule, from what the classifier says and how often labels are wrong.

    Copies of a text have one right class. Where all have the same label they count as one row, since rows are copied
    with their labels; where they have several, each is a vote.

    Args:
        logits: (rows, units)
        classes: (rows,), the given labels.
        texts: (rows,), equal for copies of a text.
        noise: how often a label is wrong.
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
    """Returns the rows of each text that has several labels."""
    rows: dict[int, list[int]] = defaultdict(list)
    for at, text in enumerate(texts.tolist()):
        rows[text].append(at)
    return [some for some in rows.values() if len(set(classes[some].tolist())) > 1]


def listed(wrong: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns the rows to look at, the most certain first: so many that the list has the highest expected F1 of
    precision and recall (Lewis, "Evaluating and Optimizing Autonomous Text Classification Systems", SIGIR 1995).

    Args:
        wrong: (rows,), the probability that the label is wrong.
    """
    order = np.argsort(-wrong, kind="stable")
    falling = wrong[order]
    f1 = 2 * np.cumsum(falling) / (np.arange(1, len(wrong) + 1) + falling.sum())
    count = int(f1.argmax()) + 1
    return order[:count][falling[:count] >= MIN_PROBABILITY]
