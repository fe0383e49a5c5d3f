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
        settings: how the classifier is built and trained.
        classes: number of classes. Two classes share one output unit; more have a unit each.
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
        """Returns the kernel and the bias of each of `layers`, as they are exported."""

    def unknown_word_ratio(self, examples: Examples) -> float:
        """Returns the share of the texts' words that the classifier does not know; 0 if the texts have no words."""
        return examples.unknown_word_ratio

    def class_weights(self, targets: csr_array) -> NDArray[np.float64]:
        """Returns each class's weight in the loss, (classes,), for a fit on targets (texts, classes)."""
        return class_weights(self._settings.class_weights, targets)


def class_weights(kind: ClassWeights, targets: csr_array) -> NDArray[np.float64]:
    """Returns each class's weight, (classes,), which multiplies the weights of its texts.

    Args:
        kind: "none": each class has the weight 1. "balanced": a class's weight is inversely proportional to the sum of
            the weights of its texts.
        targets: (texts, classes)
    """
    count = targets.shape[1]
    if kind == "none":
        return np.ones(count)
    sums = targets.sum(axis=0)
    weights: NDArray[np.float64] = sums.sum() / (count * np.where(sums > 0, sums, 1))
    return weights
