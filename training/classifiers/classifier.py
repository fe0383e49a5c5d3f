"""What every classifier has: a vectorizer and dense layers behind it."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textmodel.metadata import HashedNGrams, Layer, MultiHot, NGrams, PaddedSequence
from training.data.keras_datasets import Examples
from training.settings import ClassWeights, Settings


class Classifier(ABC):
    """A vectorizer and dense layers. The same settings and texts give the same weights.

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

    def class_weights(self, classes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns the weight in the loss of a text of each class, (classes,), in a fit on texts of these classes."""
        return class_weights(self._settings.class_weights, classes, self._classes)


def class_weights(kind: ClassWeights, classes: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Returns the weight of a text of each class, (count,): 1; or, balanced, inversely proportional to the number of
    texts of the class.

    Args:
        kind: which of the two.
        classes: (texts,)
        count: number of classes.
    """
    if kind == "none":
        return np.ones(count)
    return len(classes) / (count * np.maximum(np.bincount(classes, minlength=count), 1))
