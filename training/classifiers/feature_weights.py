"""The weight of each n-gram feature before the fit: its rarity, and its information about the class.

The naive-Bayes log-count ratio (Wang and Manning, "Baselines and Bigrams", ACL 2012) is for two classes. The divergence
is for any number, and as good for two: accuracy 0.9139 instead of 0.9144 on film reviews, cross-validated by film.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

_SMOOTHING = 5
"""Smoothing: so many virtual texts, distributed over the classes as all texts are, are added to those of a feature."""
_ROUNDING = 1e-6
"""Rounding error of a sum of weights."""


def feature_weights(
    counts: csr_array,
    targets: csr_array,
    *,
    min_df: int,
    idf_power: float,
    divergence_power: float,
) -> NDArray[np.float16]:
    """Returns the weight of each feature, (features,): its inverse document frequency to the power `idf_power`, times
    its divergence to the power `divergence_power`; 0 if fewer than `min_df` texts contain it. A text of weight 2 counts
    as two.

    The divergence is the Kullback-Leibler divergence of the classes of the texts that contain the feature from the
    classes of all texts.

    Args:
        counts: (texts, features), the count of each feature in each training text.
        targets: (texts, classes), the weight of each text times the probability of each class.
        min_df: minimum document frequency.
        idf_power: exponent of the inverse document frequency.
        divergence_power: exponent of the divergence.
    """
    size = counts.shape[1]
    frequency = document_frequency(counts, targets)
    kept = np.flatnonzero(frequency > min_df - _ROUNDING)
    idf = np.log((1 + targets.sum()) / (1 + frequency[kept])) + 1
    exact = idf**idf_power * _divergence(counts[:, kept], targets) ** divergence_power
    weights = np.zeros(size, np.float16)
    # Vectors are divided by their length, so a common factor changes nothing: it keeps large powers within float16.
    weights[kept] = exact / max(1, exact.max(initial=0) / np.finfo(np.float16).max)
    return weights


def document_frequency(counts: csr_array, targets: csr_array) -> NDArray[np.float64]:
    """Returns the sum of the weights of the texts that contain each feature, (features,).

    Args:
        counts: (texts, features)
        targets: (texts, classes), the weight of each text times the probability of each class.
    """
    weights = np.repeat(targets.sum(axis=1), np.diff(counts.indptr))
    return np.bincount(counts.indices, weights, counts.shape[1]).astype(np.float64, copy=False)


def _divergence(counts: csr_array, targets: csr_array) -> NDArray[np.float64]:
    """Returns the divergence of each feature, (features,). The memory grows with the number of nonzero values."""
    share_of_all = targets.sum(axis=0) / targets.sum()
    holds = csr_array((np.ones(counts.nnz), counts.indices, counts.indptr), shape=counts.shape)
    texts_of_class = csr_array(holds.T @ targets)
    feature = np.repeat(np.arange(counts.shape[1]), np.diff(texts_of_class.indptr))
    total = np.bincount(feature, texts_of_class.data, counts.shape[1]) + _SMOOTHING
    expected = share_of_all[texts_of_class.indices]
    share = (texts_of_class.data + _SMOOTHING * expected) / total[feature]
    held = np.bincount(feature, share * np.log(share / expected), counts.shape[1])
    # Classes without a text that contains the feature contribute only the smoothing.
    rest = 1 - np.bincount(feature, expected, counts.shape[1])
    left = _SMOOTHING / total
    return np.maximum(held + rest * left * np.log(left), np.finfo(np.float32).eps)
