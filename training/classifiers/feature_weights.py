"""What each n-gram feature counts before anything is learned: how rare it is, and how much it tells of the class.

The naive-Bayes log-count ratio (Wang and Manning, "Baselines and Bigrams", ACL 2012) is for two classes. The divergence
is for any number, and was as good on two: 0.9139 instead of 0.9144 of the film reviews, in cross-validation by films.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from textmodel.ngrams import Features
from training.settings import Settings

_SMOOTHING = 5
"""Texts, spread over the classes as all texts are, that are added to those that hold a feature."""


def feature_scale(
    features: Features, size: int, targets: NDArray[np.float32], settings: Settings
) -> NDArray[np.float16]:
    """Returns the scale of each of `size` features: idf to the power `idf_power`, times the divergence to the power
    `divergence_power`; 0 for a feature that fewer than `min_count` texts hold.

    The divergence is Kullback and Leibler's, from the classes of all texts to the classes of those with the feature.

    Args:
        features: of the training texts.
        size: number of features.
        targets: (texts, classes), one-hot.
        settings: the powers and the least count.
    """
    texts = len(targets)
    holds = csr_array((np.ones(len(features.ids), np.float32), features.ids, features.row_splits), shape=(texts, size))
    held = np.bincount(features.ids, minlength=size)
    kept = np.flatnonzero(held >= settings.min_count)
    idf = np.log((1 + texts) / (1 + held[kept])) + 1
    expected = targets.mean(axis=0)
    counts = holds[:, kept].T @ targets + _SMOOTHING * expected
    shares = counts / counts.sum(axis=1, keepdims=True)
    # A class without texts has a share of 0, and adds nothing.
    logs = np.log(np.divide(shares, expected, out=np.ones_like(shares), where=shares > 0))
    divergence = np.maximum((shares * logs).sum(axis=1), np.finfo(np.float32).eps)
    scale = np.zeros(size, np.float16)
    scale[kept] = idf**settings.idf_power * divergence**settings.divergence_power
    return scale
