"""Temperature scaling: probabilities that are as often right as they say (Guo et al., "On Calibration of Modern Neural
Networks", ICML 2017).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

_LOG_BOUNDS = (-7.0, 7.0)
"""Temperatures from a thousandth to a thousand."""


def fit_temperature(logits: NDArray[np.float32], classes: NDArray[np.int64]) -> float:
    """Returns what logits, (n, k), are best divided by: the temperature with the lowest mean log loss."""
    exact = logits.astype(np.float64)
    rows = np.arange(len(classes))

    def loss(logarithm: float) -> float:
        return -float(log_softmax(exact / np.exp(logarithm), axis=1)[rows, classes].mean())

    return float(np.exp(minimize_scalar(loss, bounds=_LOG_BOUNDS, method="bounded").x))
