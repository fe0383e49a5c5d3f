"""How good the probabilities are, on texts with known classes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support

CALIBRATION_BINS = 15
"""Number of bins in Guo et al., "On Calibration of Modern Neural Networks", ICML 2017."""


@dataclass(frozen=True)
class Evaluation:
    """Metrics on n texts of k classes."""

    accuracy: float
    log_loss: float
    """Mean negative logarithm (natural) of the true class's probability."""
    expected_calibration_error: float
    precision: NDArray[np.float64]
    """(k,), 0 for a class that was never predicted."""
    recall: NDArray[np.float64]
    """(k,), 0 for a class without texts."""
    f1: NDArray[np.float64]
    """(k,)"""
    support: NDArray[np.int64]
    """(k,), texts of each class."""
    confusion: NDArray[np.int64]
    """(k, k), texts of the row's class that were predicted as the column's."""


def evaluate(probabilities: NDArray[np.float32], classes: NDArray[np.int64]) -> Evaluation:
    """Compares probabilities, (n, k), with the true classes, (n,)."""
    every = np.arange(probabilities.shape[1])
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)  # to 1 in float64 too
    predicted = exact.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(classes, predicted, labels=every, zero_division=0)
    return Evaluation(
        accuracy=float(accuracy_score(classes, predicted)),
        log_loss=float(log_loss(classes, exact, labels=every)),
        expected_calibration_error=expected_calibration_error(exact.max(axis=1), predicted == classes),
        precision=precision,
        recall=recall,
        f1=f1,
        support=support,
        confusion=confusion_matrix(classes, predicted, labels=every),
    )


def expected_calibration_error(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    """Returns how far confidence is from accuracy: the mean over `CALIBRATION_BINS` bins of equal width, each weighted
    by its texts, of the difference between mean confidence and accuracy (Guo et al., ICML 2017, equation 3).

    Args:
        confidence: (n,), the winning probability of each text.
        correct: (n,), whether the winner is the true class.
    """
    bins = np.ceil(confidence * CALIBRATION_BINS).astype(np.int64)  # bin m is ((m - 1) / 15, m / 15]
    gaps = np.bincount(bins, weights=confidence - correct)
    return float(np.abs(gaps).sum() / len(confidence))
