"""Linear support vector machines with the squared hinge loss, one class against the rest.

scikit-learn fits them by LIBLINEAR's dual coordinate descent (Hsieh et al., ICML 2008). The same vectors and seed give
the same weights.
"""

import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from textfiles import InputError

MAX_COMPONENTS = 2**31 - 1
"""Maximum number of nonzero components of all vectors together: LIBLINEAR counts them by 32-bit integers."""
_REST = -1
TOLERANCE = 0.01
_MAX_ITERATIONS = 100
"""Maximum number of passes. Noisy texts take about 20; after 100 the answers equal those of the optimum."""
_MAX_COEFFICIENTS = 1 << 24
"""Maximum number of features times classes in one fit: LIBLINEAR keeps several 64-bit copies of the coefficients."""


class LinearModel(NamedTuple):
    """A linear model. The logits of vectors are `vectors @ kernel + bias`."""

    kernel: NDArray[np.float32]
    """(features, units)"""
    bias: NDArray[np.float32]
    """(units,)"""


def fit(
    vectors: csr_array,
    classes: NDArray[np.int64],
    wanted: NDArray[np.int64],
    *,
    cost: float,
    weights: NDArray[np.float64] | None = None,
    seed: int = 0,
    tolerance: float = TOLERANCE,
) -> LinearModel:
    """Fits a unit for each wanted class. A class without vectors is never the answer.

    Args:
        vectors: float (texts, features), of length 1 or 0.
        classes: (texts,)
        wanted: (units,), in ascending order.
        cost: LIBLINEAR's C: the weight of the loss relative to the regularization.
        weights: (texts,), how much each text counts in the loss; None for 1 each.
        seed: shuffles the texts before each pass.
        tolerance: LIBLINEAR's stopping tolerance.

    Raises:
        InputError: the vectors have more nonzero components than `MAX_COMPONENTS`.
    """
    if vectors.nnz > MAX_COMPONENTS:
        raise InputError(
            f"{vectors.shape[0]:,} texts to train on have {vectors.nnz:,} features together, but LIBLINEAR takes"
            f" {MAX_COMPONENTS:,} at most: give fewer texts, raise --min-df, or choose --features words"
        )
    features = vectors.shape[1]
    if not features:  # LIBLINEAR needs at least one
        vectors = csr_array((vectors.shape[0], 1))
    kernel = np.zeros((vectors.shape[1], len(wanted)), np.float32)
    bias = np.full(len(wanted), -1, np.float32)
    for some in _chunks(np.intersect1d(wanted, classes), vectors.shape[1]):
        targets = np.where(np.isin(classes, some), classes, _REST)
        if np.all(targets == targets[0]):  # a single class is always the answer
            bias[np.searchsorted(wanted, some)] = 1
            continue
        machine = LinearSVC(C=cost, tol=tolerance, max_iter=_MAX_ITERATIONS, dual=True, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            machine.fit(vectors, targets, weights)
        if len(machine.classes_) == 2:  # scikit-learn fits the second class alone
            machine.coef_ = np.vstack([-machine.coef_, machine.coef_])
            machine.intercept_ = np.hstack([-machine.intercept_, machine.intercept_])
        fitted = machine.classes_ != _REST
        units = np.searchsorted(wanted, machine.classes_[fitted])
        kernel[:, units] = machine.coef_[fitted].T
        bias[units] = machine.intercept_[fitted]
    return LinearModel(kernel[:features], bias)


def _chunks(classes: NDArray[np.int64], features: int) -> Iterator[NDArray[np.int64]]:
    """Yields the classes in chunks whose coefficients fit into memory."""
    size = max(2, _MAX_COEFFICIENTS // features)
    for first in range(0, len(classes), size):
        yield classes[first : first + size]
