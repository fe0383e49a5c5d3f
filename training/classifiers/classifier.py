"""The base of all classifiers: a vectorizer, followed by dense layers."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from textmodel.metadata import HashedNGrams, Layer, MultiHot, NGrams, PaddedSequence
from training.data.keras_datasets import Examples
from training.settings import ClassWeights, Settings


class Classifier(ABC):
    """A vectorizer, followed by dense layers. The same settings and texts give the same weights.

    Args:
        settings: how it is built and trained.
        classes: number of classes. Two are one unit, more a unit for each.
    """

    vectorizer: MultiHot | PaddedSequence | NGrams | HashedNGrams
    layers: tuple[Layer, ...]
    """The dense layers, the output layer last."""

    def __init__(self, settings: Settings, classes: int) -> None:
        self._settings = settings
        self._classes = classes
        self._binary = classes == 2

    @abstractmethod
    def probabilities(self, examples: Examples) -> NDArray[np.float32]:
        """Returns the probabilities, (texts, classes)."""

    @abstractmethod
    def dense_weights(self) -> list[NDArray[Any]]:
        """Returns kernel and bias of each of `layers`, as they are exported."""

    def unknown_word_ratio(self, examples: Examples) -> float:
        """Returns the share of the words of texts that the classifier does not know; 0 without words."""
        return examples.unknown_word_ratio

    def class_weights(self, targets: csr_array) -> NDArray[np.float64]:
        """Returns the weight in the loss of a text of each class, (classes,), in a fit on targets (texts, classes)."""
        return class_weights(self._settings.class_weights, targets)


def class_weights(kind: ClassWeights, targets: csr_array) -> NDArray[np.float64]:
    """Returns the weight of a text of each class, (classes,), which multiplies its own: 1; or, balanced, inversely
    proportional to the sum of the weights of the class.

    Args:
        kind: which of the two.
        targets: (texts, classes)
    """
    count = targets.shape[1]
    if kind == "none":
        return np.ones(count)
    sums = targets.sum(axis=0)
    weights: NDArray[np.float64] = sums.sum() / (count * np.where(sums > 0, sums, 1))
    return weights
