"""What every classifier has: a vectorizer and dense layers behind it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textmodel.metadata import Layer
from training.classifiers.vectorizers import Vectorizer
from training.settings import Settings


class Classifier(ABC):
    """A vectorizer and dense layers. The same settings and texts give the same weights.

    Args:
        settings: how it is built and trained.
        classes: number of classes. Two are one unit, more a unit for each.
    """

    vectorizer: Vectorizer
    layers: tuple[Layer, ...]
    """The dense layers, the output layer last."""

    def __init__(self, settings: Settings, classes: int) -> None:
        self._settings = settings
        self._classes = classes
        self._binary = classes == 2

    @abstractmethod
    def probabilities(self, sequences: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
        """Returns the probabilities, (texts, classes), of sequences of word indices."""

    @abstractmethod
    def dense_weights(self) -> list[NDArray[np.floating[Any]]]:
        """Returns kernel and bias of each of `layers`, as they are exported."""

    def class_weights(self, classes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns the weight in the loss of a text of each class, (classes,), in a fit on texts of these classes: 1; or,
        balanced, inversely proportional to the number of texts of the class.
        """
        if self._settings.class_weights == "none":
            return np.ones(self._classes)
        return len(classes) / (self._classes * np.maximum(np.bincount(classes, minlength=self._classes), 1))
