"""The classifier: a vectorizer, and a Keras network of dense layers behind it."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from textmodel.metadata import Layer, MultiHot, PaddedSequence
from training.datasets import Examples
from training.settings import Settings
from training.vectorizers import Vectorizer, batches

History = Mapping[str, Sequence[float]]
"""Keras's history of a fit: "loss", "accuracy", "val_loss" and "val_accuracy", a number for each epoch."""


class Classifier:
    """A network with its initial weights. The same settings give the same weights, before and after a fit.

    Args:
        settings: how it is built and trained.
        classes: number of classes. Two are one sigmoid unit, more a softmax.
    """

    vectorizer: Vectorizer
    layers: tuple[Layer, ...]
    """The dense layers, the output layer last."""
    network: keras.Sequential

    def __init__(self, settings: Settings, classes: int) -> None:
        self._settings = settings
        self._classes = classes
        self._binary = classes == 2
        output = Layer(1, "sigmoid") if self._binary else Layer(classes, "softmax")
        self.layers = (*(Layer(units, "relu") for units in settings.layers), output)
        keras.utils.set_random_seed(settings.seed)
        self.network = keras.Sequential()
        if settings.vectorizer == "multi-hot":
            self.vectorizer = MultiHot(settings.num_words)
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
        accuracy = keras.metrics.BinaryAccuracy if self._binary else keras.metrics.CategoricalAccuracy
        self.network.compile(
            optimizer,
            loss="mean_squared_error" if settings.loss == "mse" else crossentropy,
            metrics=[accuracy("accuracy")],
        )

    def fit(
        self, examples: Examples, epochs: int, progress: keras.callbacks.Callback, validation: Examples | None = None
    ) -> History:
        """Fits the network. With a validation set, the history has its loss and accuracy after each epoch."""
        history: History = self.network.fit(
            self._batches(examples, shuffle_seed=self._settings.seed),
            epochs=epochs,
            validation_data=self._batches(validation) if validation else None,
            class_weight=dict(enumerate(self.class_weights(examples.classes).tolist())),
            callbacks=[progress],
            shuffle=False,  # the batches are shuffled already
            verbose=0,
        ).history
        return history

    def class_weights(self, classes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns how much a text of each class counts in the loss of a fit on texts of these classes: 1, or, balanced,
        the less the more texts the class has, so that all classes count the same together.
        """
        if self._settings.class_weights == "none":
            return np.ones(self._classes)
        return len(classes) / (self._classes * np.maximum(np.bincount(classes, minlength=self._classes), 1))

    def probabilities(self, sequences: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
        """Returns the probabilities, (texts, classes), of sequences of word indices."""
        vectors = batches(self.vectorizer, sequences, self._settings.batch_size)
        output: NDArray[np.float32] = self.network.predict(vectors, verbose=0)
        return np.hstack([1 - output, output]) if self._binary else output

    def _batches(self, examples: Examples, shuffle_seed: int | None = None) -> tf.data.Dataset:
        targets = self._targets(examples.classes)
        return batches(self.vectorizer, examples.sequences, self._settings.batch_size, targets, shuffle_seed)

    def _targets(self, classes: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns what the network should say, (texts, units): the class itself for one unit, else one-hot."""
        if self._binary:
            return classes[:, np.newaxis].astype(np.float32)
        return np.eye(self.layers[-1].units, dtype=np.float32)[classes]


def best_epoch(history: History) -> int:
    """Returns the epoch, from 1, with the lowest validation loss; the first of equals."""
    return int(np.argmin(history["val_loss"])) + 1
