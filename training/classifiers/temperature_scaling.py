"""From what one-vs-rest classifiers say to probabilities that are as often right as they say.

Temperature scaling (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017), with the shift that a hinge
loss needs beside it (Platt, "Probabilistic Outputs for Support Vector Machines", 1999): one of each for all classes.
"""

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_expit, log_softmax

_Float = TypeVar("_Float", np.float32, np.float64)

_BOUNDS = ((-7, 7), (-20, 20))
"""Of the temperature's logarithm and of the shift. Texts that are told apart perfectly would take them to infinity."""


class Calibration(NamedTuple):
    """What the logits of an output layer become: `logits / temperature + shift`."""

    temperature: float
    shift: float


def probabilities(logits: NDArray[_Float]) -> NDArray[_Float]:
    """Returns what the output layer says, (texts, classes), of logits (texts, units): the sigmoids, divided by their
    sum. One unit says the probability of class 1.
    """
    return np.exp(_log_probabilities(logits))


def fit(logits: NDArray[np.float32], classes: NDArray[np.int64]) -> Calibration:
    """Returns the calibration with the lowest mean log loss.

    Args:
        logits: (texts, units), of texts that the classifier was not fitted on.
        classes: (texts,)
    """
    exact = logits.astype(np.float64)
    rows = np.arange(len(classes))

    def loss(parameters: NDArray[np.float64]) -> float:
        logarithm, shift = parameters
        return -float(_log_probabilities(exact / np.exp(logarithm) + shift)[rows, classes].mean())

    logarithm, shift = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=_BOUNDS).x
    return Calibration(float(np.exp(logarithm)), float(shift))


def _log_probabilities(logits: NDArray[_Float]) -> NDArray[_Float]:
    if logits.shape[1] == 1:
        return np.hstack([log_expit(-logits), log_expit(logits)])
    output: NDArray[_Float] = log_softmax(log_expit(logits), axis=1)
    return output
