"""Calibration: turns the logits of one-vs-rest classifiers into calibrated probabilities.

Temperature scaling (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017), with the shift that a hinge
loss also needs (Platt, "Probabilistic Outputs for Support Vector Machines", 1999). All classes share one temperature
and one shift. With few texts, a normal prior keeps both close to those of no calibration.
"""

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_expit, log_softmax, logsumexp

_Float = TypeVar("_Float", np.float32, np.float64)

_BOUNDS = ((-7, 7), (-20, 20))
"""Bounds of the logarithm of the temperature and of the shift."""
_PRIOR = (2.0, 8.0)
"""Half the precision of the normal prior of each: the cost of a squared deviation, added to the summed log loss."""


class Calibration(NamedTuple):
    """Transforms the logits of an output layer to `logits / temperature + shift`."""

    temperature: float
    shift: float


IDENTITY = Calibration(temperature=1, shift=0)


def probabilities(logits: NDArray[_Float]) -> NDArray[_Float]:
    """Returns the output layer's probabilities, (texts, classes), for logits (texts, units): the sigmoids, divided by
    their sum. A single unit gives the probability of class 1.
    """
    if logits.shape[1] == 1:
        logs: NDArray[_Float] = np.hstack([log_expit(-logits), log_expit(logits)])
    else:
        logs = log_softmax(log_expit(logits), axis=1)
    return np.exp(logs)


def fit(
    logits: NDArray[np.float32],
    classes: NDArray[np.int64],
    others: float = 1,
    weights: NDArray[np.float64] | None = None,
) -> Calibration:
    """Returns the most likely calibration.

    Args:
        logits: (texts, units), of texts that the classifier was not fitted on.
        classes: (texts,), the unit of each text's class; 0 or 1 if there is one unit.
        others: how many classes each unit stands for, except the unit of the text's own class. It is more than 1 if the
            units are a sample of the classes.
        weights: (texts,), how much each text counts; None for 1 each.
    """
    if not len(classes):
        return IDENTITY
    exact = logits.astype(np.float64)
    counted = np.ones(len(classes)) if weights is None else weights

    def loss(parameters: NDArray[np.float64]) -> float:
        logarithm, shift = parameters
        likelihood = (counted * _log_likelihoods(exact / np.exp(logarithm) + shift, classes, others)).sum()
        return float((np.square(parameters) @ _PRIOR - likelihood) / counted.sum())

    logarithm, shift = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=_BOUNDS).x
    return Calibration(float(np.exp(logarithm)), float(shift))


def _log_likelihoods(logits: NDArray[np.float64], classes: NDArray[np.int64], others: float) -> NDArray[np.float64]:
    """Returns the logarithm of the probability of each text's class, (texts,)."""
    rows = np.arange(len(classes))
    if logits.shape[1] == 1:
        binary: NDArray[np.float64] = log_expit(np.where(classes == 1, logits[:, 0], -logits[:, 0]))
        return binary
    logs = log_expit(logits)
    own = logs[rows, classes]
    stands_for = np.full_like(logs, others)
    stands_for[rows, classes] = 1
    result: NDArray[np.float64] = own - logsumexp(logs, axis=1, b=stands_for)
    return result
