"""The weight of each n-gram feature before the fit: its rarity, and its information about the class.

The naive-Bayes log-count ratio (Wang and Manning, "Baselines and Bigrams", ACL 2012) is for two classes. The divergence
is for any number, and was as good on two: 0.9139 instead of 0.9144 of the film reviews, in cross-validation by films.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

_SMOOTHING = 5
"""Number of virtual texts, distributed over the classes as all texts are, added to those with a feature: smoothing."""
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
    the divergence to the power `divergence_power`; 0 if fewer than `min_df` texts hold it. A text counts as its weight.

    The divergence is Kullback and Leibler's, from the classes of all texts to the classes of those with the feature.

    Args:
        counts: (texts, features), of the training texts.
        targets: (texts, classes), the weight of each text times the probability of each class.
        min_df: minimum document frequency.
        idf_power: exponent of the inverse document frequency.
        divergence_power: exponent of the divergence.
    """
    size = counts.shape[1]
    frequency = document_frequency(counts, targets)
    kept = np.flatnonzero(frequency > min_df - _ROUNDING)
    idf = np.log((1 + targets.sum()) / (1 + frequency[kept])) + 1
    weights = np.zeros(size, np.float16)
    weights[kept] = idf**idf_power * _divergence(counts[:, kept], targets) ** divergence_power
    return weights


def document_frequency(counts: csr_array, targets: csr_array) -> NDArray[np.float64]:
    """Returns the sum of the weights of the texts that hold each feature, (features,).

    Args:
        counts: (texts, features)
        targets: (texts, classes), the weight of each text times the probability of each class.
    """
    weights = np.repeat(targets.sum(axis=1), np.diff(counts.indptr))
    return np.bincount(counts.indices, weights, counts.shape[1]).astype(np.float64, copy=False)


def _divergence(counts: csr_array, targets: csr_array) -> NDArray[np.float64]:
    """Returns the divergence of each feature, in memory that grows with the values that are not zero."""
    share_of_all = targets.sum(axis=0) / targets.sum()
    holds = csr_array((np.ones(counts.nnz), counts.indices, counts.indptr), shape=counts.shape)
    texts_of_class = csr_array(holds.T @ targets)
    feature = np.repeat(np.arange(counts.shape[1]), np.diff(texts_of_class.indptr))
    total = np.bincount(feature, texts_of_class.data, counts.shape[1]) + _SMOOTHING
    expected = share_of_all[texts_of_class.indices]
    share = (texts_of_class.data + _SMOOTHING * expected) / total[feature]
    held = np.bincount(feature, share * np.log(share / expected), counts.shape[1])
    # Of the classes without a text that holds the feature, only the smoothing is left.
    rest = 1 - np.bincount(feature, expected, counts.shape[1])
    left = _SMOOTHING / total
    return np.maximum(held + rest * left * np.log(left), np.finfo(np.float32).eps)
