"""The classifier of dense layers: a Keras network on a multi-hot vector or an embedding."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from textmodel.metadata import Layer, MultiHot, PaddedSequence
from training.classifiers.classifier import Classifier
from training.classifiers.vectorizers import batches
from training.data.keras_datasets import Examples
from training.settings import Settings

History = Mapping[str, Sequence[float]]
"""Keras's history of a fit: "loss", "accuracy", "val_loss" and "val_accuracy", a number for each epoch."""


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
            self.vectorizer = PaddedSequence(settings.num_words, settings.sequence_length, settings.embedding_dim)
            self.network.add(keras.Input((settings.sequence_length,), dtype="int32"))
            self.network.add(keras.layers.Embedding(settings.num_words, settings.embedding_dim))
            self.network.add(keras.layers.GlobalMaxPooling1D())
        for layer in self.layers:
            self.network.add(keras.layers.Dense(layer.units, layer.activation))
        optimizer = keras.optimizers.get(settings.optimizer)
        optimizer.learning_rate = settings.learning_rate
        self.network.compile(optimizer, loss=self._loss(), metrics=[self._accuracy()])

    def fit(
        self, examples: Examples, epochs: int, progress: keras.callbacks.Callback, validation: Examples | None = None
    ) -> History:
        """Fits the network from its initial weights, once. With a validation set, the history has its loss and accuracy
        after each epoch, and the fit ends when that loss has not fallen for `patience` epochs.
        """
        stopping = [keras.callbacks.EarlyStopping(patience=self._settings.patience)] if validation else []
        history: History = self.network.fit(
            self._batches(examples, targets=True, shuffle_seed=self._settings.seed),
            epochs=epochs,
            validation_data=self._batches(validation, targets=True) if validation else None,
            class_weight=dict(enumerate(self.class_weights(examples.classes).tolist())),
            callbacks=[progress, *stopping],
            shuffle=False,  # the batches are shuffled already
            verbose=0,
        ).history
        return history

    def probabilities(self, examples: Examples) -> NDArray[np.float32]:
        """Returns the probabilities, (texts, classes)."""
        output: NDArray[np.float32] = self.network.predict(self._batches(examples), verbose=0)
        return np.hstack([1 - output, output]) if self._binary else output

    def dense_weights(self) -> list[NDArray[np.floating[Any]]]:
        """Returns the network's kernels and biases behind the embedding, if it has one."""
        weights: list[NDArray[np.floating[Any]]] = self.network.get_weights()
        return weights[-2 * len(self.layers) :]

    def _loss(self) -> str | Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        if self._binary:
            return "mean_squared_error" if self._settings.loss == "mse" else "binary_crossentropy"
        return self._squared_error if self._settings.loss == "mse" else "sparse_categorical_crossentropy"

    def _squared_error(self, classes: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """Returns the mean squared error of each text. Keras's own takes one-hot targets, of all texts at once."""
        one_hot = tf.one_hot(tf.cast(tf.reshape(classes, [-1]), tf.int32), self._classes)
        return tf.reduce_mean(tf.square(one_hot - output), axis=-1)

    def _accuracy(self) -> keras.metrics.Metric:
        if self._binary:
            return keras.metrics.BinaryAccuracy("accuracy")
        return keras.metrics.SparseCategoricalAccuracy("accuracy")

    def _batches(
        self, examples: Examples, *, targets: bool = False, shuffle_seed: int | None = None
    ) -> tf.data.Dataset:
        """Returns the mini-batches of an epoch: vectors, with their classes as targets, (texts, 1), if asked."""
        classes = examples.classes[:, np.newaxis].astype(np.float32 if self._binary else np.int32)
        size = self._settings.batch_size or batch_size(len(examples))
        return batches(self.vectorizer, examples.sequences, size, classes if targets else None, shuffle_seed)


def batch_size(texts: int) -> int:
    """Returns the size of mini-batches that suits a number of training texts: a power of two from 16 to 512 that gives
    32 mini-batches or more in an epoch, where there are as many.
    """
    return int(2 ** np.clip(np.floor(np.log2(max(texts, 1) / 32)), 4, 9))


def best_epoch(history: History) -> int:
    """Returns the epoch, from 1, with the lowest validation loss; the first of equals."""
    return int(np.argmin(history["val_loss"])) + 1
