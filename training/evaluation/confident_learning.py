"""Which labels are probably wrong, by probabilities of classifiers that have not learned them: confident learning.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", Journal of Artificial
Intelligence Research 70, 2021.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def thresholds(probabilities: NDArray[np.floating], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns the mean probability of each class among the texts that are labelled with it, (classes,): from it on, a
    text counts as one of the class. 1 for a class without texts.

    Args:
        probabilities: (texts, classes)
        classes: (texts,), the given labels.
    """
    own = probabilities[np.arange(len(classes)), classes]
    count = probabilities.shape[1]
    texts = np.bincount(classes, minlength=count)
    return np.where(texts > 0, np.bincount(classes, own, count) / np.maximum(texts, 1), 1.0)
