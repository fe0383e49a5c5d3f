"""Metrics of a model's probabilities on texts with known classes."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

CALIBRATION_BINS = 15
"""Number of bins in Guo et al., "On Calibration of Modern Neural Networks", ICML 2017."""

_LEAST = float(np.finfo(np.float64).eps)
"""The log loss takes lower probabilities as this value, as scikit-learn does."""


class Answers(NamedTuple):
    """The part of n texts' probabilities that the metrics need. Its size does not depend on the number of classes."""

    classes: NDArray[np.int32]
    """(n,), the true class."""
    predicted: NDArray[np.int32]
    """(n,), the class with the highest probability, the first of equals."""
    confidence: NDArray[np.float64]
    """(n,), the probability of the predicted class."""
    true_probability: NDArray[np.float64]
    """(n,), the probability of the true class."""

    @classmethod
    def of(cls, probabilities: NDArray[np.float32], classes: NDArray[np.int64]) -> "Answers":
        """Makes the answers from probabilities, (n, k), and true classes, (n,). The model does not know a class from k
        on: it has the probability 0.
        """
        exact = probabilities.astype(np.float64)
        exact /= exact.sum(axis=1, keepdims=True)  # so that they sum to 1 in float64 too
        rows, predicted = np.arange(len(classes)), exact.argmax(axis=1)
        known = classes < exact.shape[1]
        true_probability = np.where(known, exact[rows, np.where(known, classes, 0)], 0)
        return cls(classes.astype(np.int32), predicted.astype(np.int32), exact[rows, predicted], true_probability)


class CalibrationCurve(NamedTuple):
    """Confidence and accuracy in bins of equal width, ((m - 1) / bins, m / bins]. Empty bins are left out."""

    texts: NDArray[np.int64]
    """(bins,), number of texts."""
    confidence: NDArray[np.float64]
    """(bins,), mean winning probability."""
    accuracy: NDArray[np.float64]
    """(bins,), share of right answers."""

    @property
    def expected_error(self) -> float:
        """The expected calibration error: the mean over the bins of the difference between mean confidence and
        accuracy, weighted by the number of texts (Guo et al., ICML 2017, equation 3).
        """
        return float(np.average(np.abs(self.confidence - self.accuracy), weights=self.texts))


@dataclass(frozen=True)
class Evaluation:
    """Metrics on n texts of k classes."""

    answers: Answers
    accuracy: float
    accuracy_interval: tuple[float, float]
    """The 95% confidence interval: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference",
    Journal of the American Statistical Association 22, 1927."""
    log_loss: float
    """Mean negative natural logarithm of the true class's probability, over the texts whose class the model knows."""
    calibration: CalibrationCurve
    precision: NDArray[np.float64]
    """(k,), 0 for a class that was never predicted."""
    recall: NDArray[np.float64]
    """(k,), 0 for a class without texts."""
    f1: NDArray[np.float64]
    """(k,)"""
    support: NDArray[np.int64]
    """(k,), number of texts of each class."""

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """(k, k), number of texts of the row's class that were predicted as the column's class. Only the figure needs
        it, and it is large if there are many classes.
        """
        matrix: NDArray[np.int64] = confusion_matrix(
            self.answers.classes, self.answers.predicted, labels=np.arange(len(self.support))
        )
        return matrix

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the classes that have texts. Each class counts the same, however few texts it has."""
        return float(self.f1[self.support > 0].mean())

    @property
    def expected_calibration_error(self) -> float:
        """See `CalibrationCurve.expected_error`."""
        return self.calibration.expected_error


def evaluate(probabilities: NDArray[np.float32], classes: NDArray[np.int64]) -> Evaluation:
    """Compares probabilities, (n, k), with the true classes, (n,)."""
    return evaluate_answers(Answers.of(probabilities, classes), probabilities.shape[1])


def evaluate_answers(answers: Answers, class_count: int, known_classes: int | None = None) -> Evaluation:
    """Evaluates answers to at least one text.

    Args:
        answers: the answers.
        class_count: number of classes that the texts have.
        known_classes: number of classes that the model knows, which are the first ones. None: all.
    """
    truth = answers.classes, answers.predicted
    right = answers.predicted == answers.classes
    known = answers.classes < (class_count if known_classes is None else known_classes)
    precision, recall, f1, support = precision_recall_fscore_support(
        *truth, labels=np.arange(class_count), zero_division=0
    )
    low, high = binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
    return Evaluation(
        answers=answers,
        accuracy=float(accuracy_score(*truth)),
        accuracy_interval=(float(low), float(high)),
        log_loss=float(-np.log(np.maximum(answers.true_probability[known], _LEAST)).mean()),
        calibration=calibrate(answers.confidence, right),
        precision=precision,
        recall=recall,
        f1=f1,
        support=support,
    )


def calibrate(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> CalibrationCurve:
    """Compares confidence with accuracy in `CALIBRATION_BINS` bins.

    Args:
        confidence: (n,), the winning probability of each text.
        correct: (n,), whether the predicted class is the true class.
    """
    bins = np.ceil(confidence * CALIBRATION_BINS).astype(np.int64)
    texts = np.bincount(bins)
    held = texts > 0
    sums = (np.bincount(bins, weights=weights)[held] for weights in (confidence, correct))
    return CalibrationCurve(texts[held], *(total / texts[held] for total in sums))
