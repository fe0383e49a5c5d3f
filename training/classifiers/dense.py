"""The classifier of dense layers: a Keras network on a multi-hot vector or an embedding."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from textfiles import InputError
from textmodel.metadata import Layer, MultiHot, PaddedSequence
from training.classifiers.classifier import Classifier
from training.classifiers.history import History
from training.classifiers.vectorizers import batches
from training.data.keras_datasets import Examples
from training.settings import Settings


class DenseClassifier(Classifier):
    """A multi-hot vector or an embedding, followed by dense layers."""

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
        accuracy = keras.metrics.MeanMetricWrapper(_accuracy, name="accuracy")
        self.network.compile(optimizer, loss=self._loss(), weighted_metrics=[accuracy])
        # Keras would build it in the first step, and TensorFlow traces a step that creates variables twice.
        optimizer.build(self.network.trainable_variables)

    def fit(
        self, examples: Examples, epochs: int, progress: keras.callbacks.Callback, validation: Examples | None = None
    ) -> History:
        """Fits the network from its initial weights. Call it once.

        With a validation set, the history has the validation loss and accuracy after each epoch, and the fit ends when
        the validation loss has not fallen for `patience` epochs.
        """
        stopping = [keras.callbacks.EarlyStopping(patience=self._settings.patience)] if validation else []
        class_weights = self.class_weights(examples.learned(self._classes))
        targets = self._targets(examples, class_weights)
        history: History = self.network.fit(
            self._batches(examples, targets, shuffle_seed=self._settings.seed),
            epochs=epochs,
            validation_data=self._batches(validation, self._targets(validation)) if validation else None,
            callbacks=[progress, *stopping],
            shuffle=False,  # the batches are shuffled already
            verbose=0,
        ).history
        return history

    def probabilities(self, examples: Examples) -> NDArray[np.float32]:
        """Returns the probabilities, (texts, classes).

        Raises:
            InputError: they are not numbers, since the fit diverged.
        """
        # Keras's `predict` would first trace a graph, which takes longer than answering thousands of texts.
        output: NDArray[np.float32] = np.concatenate([self.network(batch).numpy() for batch in self._batches(examples)])
        if not np.isfinite(output).all():
            rate = self._settings.learning_rate
            raise InputError(f"--learning-rate {rate:g}: the fit diverged, the loss is no number: choose a lower one")
        return np.hstack([1 - output, output]) if self._binary else output

    def dense_weights(self) -> list[NDArray[np.floating[Any]]]:
        """Returns the kernels and biases of the layers after the embedding, if there is one."""
        weights: list[NDArray[np.floating[Any]]] = self.network.get_weights()
        return weights[-2 * len(self.layers) :]

    def _loss(self) -> str | Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        if self._binary:
            return "mean_squared_error" if self._settings.loss == "mse" else "binary_crossentropy"
        return self._squared_error if self._settings.loss == "mse" else _crossentropy

    def _squared_error(self, targets: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """Returns the mean squared error of each text. Keras's own loss needs one-hot targets of all texts at once."""
        if _is_classes(targets):
            targets = tf.one_hot(tf.cast(tf.reshape(targets, [-1]), tf.int32), self._classes)
        return tf.reduce_mean(tf.square(targets - output), axis=-1)

    def _targets(self, examples: Examples, class_weights: NDArray[np.float64] | None = None) -> list[NDArray[Any]]:
        """Returns targets, (texts, 1 or classes), and the weight of each text, (texts,).

        With class weights, these are the targets of training. Without, they are the targets of validation.
        """
        if examples.targets is None:
            weights = np.ones(self._classes) if class_weights is None else class_weights
            classes = examples.classes[:, np.newaxis].astype(np.float32 if self._binary else np.int32)
            return [classes, weights[examples.classes].astype(np.float32)]
        if class_weights is None:
            dense = examples.judged(self._classes).toarray()
        else:
            dense = examples.learned(self._classes).toarray() * class_weights
        weights = dense.sum(axis=1)
        shares = (dense / weights[:, np.newaxis])[:, 1 if self._binary else 0 :]
        return [shares.astype(np.float32), weights.astype(np.float32)]

    def _batches(
        self, examples: Examples, targets: Sequence[NDArray[Any]] = (), shuffle_seed: int | None = None
    ) -> tf.data.Dataset:
        """Returns the mini-batches of an epoch: vectors, and their targets and weights if given."""
        size = self._settings.batch_size or batch_size(len(examples))
        return batches(self.vectorizer, examples.sequences, size, targets, shuffle_seed)


def _is_classes(targets: tf.Tensor) -> bool:
    """Tells whether targets of more than two classes are class numbers, (texts, 1), rather than shares."""
    return bool(targets.shape[-1] == 1)


def _crossentropy(targets: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
    """Returns the cross-entropy of each text, for more than two classes."""
    if _is_classes(targets):
        return keras.losses.sparse_categorical_crossentropy(targets, output)
    return keras.losses.categorical_crossentropy(targets, output)


def _accuracy(targets: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
    """Returns how right each answer is: by a label, 1 or 0; by a soft label, the probability that it has there."""
    if output.shape[-1] == 1:
        right = tf.where(output > 0.5, targets, 1 - targets)
    elif _is_classes(targets):
        right = tf.cast(tf.equal(tf.cast(targets, tf.int64), tf.argmax(output, axis=-1)[:, tf.newaxis]), tf.float32)
    else:
        right = tf.gather(targets, tf.argmax(output, axis=-1), axis=-1, batch_dims=1)[:, tf.newaxis]
    return tf.reduce_mean(right, axis=-1)


def batch_size(texts: int) -> int:
    """Returns a mini-batch size for a number of training texts: the largest power of two from 16 to 512 that gives at
    least 32 mini-batches in an epoch, or 16 if none does.
    """
    return int(2 ** np.clip(np.floor(np.log2(max(texts, 1) / 32)), 4, 9))
