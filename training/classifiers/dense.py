"""The classifiers: a vectorizer, and a Keras network of dense layers behind it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from textmodel.metadata import Layer, MultiHot, PaddedSequence
from training.classifiers.vectorizers import Vectorizer, batches
from training.data.keras_datasets import Examples
from training.settings import Settings

History = Mapping[str, Sequence[float]]
"""Keras's history of a fit: "loss", "accuracy", "val_loss" and "val_accuracy", a number for each epoch."""


class Classifier(ABC):
    """A vectorizer and a network. The same settings and texts give the same weights.

    Args:
        settings: how it is built and trained.
        classes: number of classes. Two are one unit, more a unit for each.
    """

    vectorizer: Vectorizer
    layers: tuple[Layer, ...]
    """The dense layers, the output layer last."""
    network: keras.Sequential

    def __init__(self, settings: Settings, classes: int) -> None:
        self._settings = settings
        self._classes = classes
        self._binary = classes == 2

    @abstractmethod
    def fit(
        self, examples: Examples, epochs: int, progress: keras.callbacks.Callback, validation: Examples | None = None
    ) -> History:
        """Fits the network. With a validation set, the history has its loss and accuracy after each epoch."""

    @abstractmethod
    def probabilities(self, sequences: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
        """Returns the probabilities, (texts, classes), of sequences of word indices."""

    @abstractmethod
    def dense_weights(self) -> list[NDArray[np.floating[Any]]]:
        """Returns kernel and bias of each of `layers`, as they are exported."""

    def class_weights(self, classes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns how much a text of each class counts in the loss of a fit on texts of these classes: 1, or, balanced,
        the less the more texts the class has, so that all classes count the same together.
        """
        if self._settings.class_weights == "none":
            return np.ones(self._classes)
        return len(classes) / (self._classes * np.maximum(np.bincount(classes, minlength=self._classes), 1))

    def _fit_network(
        self,
        batches: tf.data.Dataset,
        classes: NDArray[np.int64],
        epochs: int,
        callbacks: Sequence[keras.callbacks.Callback],
        validation: tf.data.Dataset | None,
    ) -> History:
        history: History = self.network.fit(
            batches,
            epochs=epochs,
            validation_data=validation,
            class_weight=dict(enumerate(self.class_weights(classes).tolist())),
            callbacks=list(callbacks),
            shuffle=False,  # the batches are shuffled already
            verbose=0,
        ).history
        return history

    def _targets(self, classes: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns what the network should say, (texts, units): the class itself for one unit, else one-hot."""
        if self._binary:
            return classes[:, np.newaxis].astype(np.float32)
        return np.eye(self._classes, dtype=np.float32)[classes]

    def _accuracy(self, threshold: float) -> keras.metrics.Metric:
        if self._binary:
            return keras.metrics.BinaryAccuracy("accuracy", threshold=threshold)
        return keras.metrics.CategoricalAccuracy("accuracy")


class DenseClassifier(Classifier):
    """A multi-hot vector or an embedding, and dense layers behind it."""

    def __init__(self, settings: Settings, classes: int) -> None:
        super().__init__(settings, classes)
        output = Layer(1, "sigmoid") if self._binary else Layer(classes, "softmax")
        self.layers = (*(Layer(units, "relu") for units in settings.layers), output)
        keras.utils.set_random_seed(settings.seed)
        self.network = keras.Sequential()
        if settings.vectorizer == "multi-hot":
            self.vectorizer: MultiHot | PaddedSequence = MultiHot(settings.num_words)
            self.network.add(keras.Input((settings.num_words,)))
        else:
            self.vectorizer = PaddedSequence(settings.num_words, settings.sequence_length, settings.dimensions)
            self.network.add(keras.Input((settings.sequence_length,), dtype="int32"))
            self.network.add(keras.layers.Embedding(settings.num_words, settings.dimensions))
            self.network.add(keras.layers.GlobalMaxPooling1D())
        for layer in self.layers:
            self.network.add(keras.layers.Dense(layer.units, layer.activation))
        optimizer = keras.optimizers.get(settings.optimizer)
        optimizer.learning_rate = settings.learning_rate
        crossentropy = "binary_crossentropy" if self._binary else "categorical_crossentropy"
        loss = "mean_squared_error" if settings.loss == "mse" else crossentropy
        self.network.compile(optimizer, loss=loss, metrics=[self._accuracy(threshold=0.5)])

    def fit(
        self, examples: Examples, epochs: int, progress: keras.callbacks.Callback, validation: Examples | None = None
    ) -> History:
        """Fits the network from its initial weights, once."""

        def of(some: Examples, shuffle_seed: int | None = None) -> tf.data.Dataset:
            return self._batches(some.sequences, self._targets(some.classes), shuffle_seed)

        held_out = of(validation) if validation else None
        return self._fit_network(of(examples, self._settings.seed), examples.classes, epochs, [progress], held_out)

    def probabilities(self, sequences: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
        """Returns the probabilities, (texts, classes), of sequences of word indices."""
        output: NDArray[np.float32] = self.network.predict(self._batches(sequences), verbose=0)
        return np.hstack([1 - output, output]) if self._binary else output

    def dense_weights(self) -> list[NDArray[np.floating[Any]]]:
        """Returns the network's kernels and biases behind the embedding, if it has one."""
        weights: list[NDArray[np.floating[Any]]] = self.network.get_weights()
        return weights[-2 * len(self.layers) :]

    def _batches(
        self,
        sequences: Sequence[NDArray[np.int32]],
        targets: NDArray[np.float32] | None = None,
        shuffle_seed: int | None = None,
    ) -> tf.data.Dataset:
        return batches(self.vectorizer, sequences, self._settings.batch_size, targets, shuffle_seed)


def best_epoch(history: History) -> int:
    """Returns the epoch, from 1, with the lowest validation loss; the first of equals."""
    return int(np.argmin(history["val_loss"])) + 1
