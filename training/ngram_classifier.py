"""The linear classifier on n-gram features: one squared hinge loss for each class against the others."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import softmax

from textmodel import ngrams
from textmodel.metadata import NGrams
from training.calibration import fit_temperature
from training.classifier import Classifier, History
from training.datasets import Examples
from training.ngram_scale import feature_scale
from training.settings import Settings
from training.vectorizers import sparse_batches

_PATIENCE = 5
"""Epochs without a lower validation loss that end the search: the loss is convex and falls smoothly."""
_TEXTS_AT_ONCE = 2048
"""How many are predicted together: their sparse vectors are held in memory."""


class NGramClassifier(Classifier):
    """Features with a scale that the training texts give, in vectors of length 1, and one dense layer behind them.

    The network has inputs only for features with a scale: a few hundred thousand of millions.
    """

    vectorizer: NGrams
    scale: NDArray[np.float16]
    """(features,), as `textmodel.ngrams.weigh` takes it. Known after `fit`."""

    def __init__(self, settings: Settings, classes: int) -> None:
        super().__init__(settings, classes)
        self._classes = classes
        self.layers = (self._output,)
        buckets = settings.buckets if settings.orders > 1 else 0
        self.vectorizer = NGrams(settings.num_words, settings.orders, buckets, settings.counts, normalize=True)

    def fit(
        self, examples: Examples, epochs: int, progress: keras.callbacks.Callback, validation: Examples | None = None
    ) -> History:
        """Weighs the features and fits the network. With a validation set, the fit ends soon after its loss was lowest,
        and leaves the weights of that epoch.
        """
        features = ngrams.features(self.vectorizer, examples.sequences)
        one_hot = np.eye(self._classes, dtype=np.float32)[examples.classes]
        self.scale = feature_scale(features, self.vectorizer.features, one_hot, self._settings)
        del features
        self._kept = np.flatnonzero(self.scale)
        keras.utils.set_random_seed(self._settings.seed)
        self.network = keras.Sequential(
            [
                keras.Input((len(self._kept),), sparse=True),
                keras.layers.Dense(self._output.units, kernel_initializer="zeros"),
            ]
        )
        self.network.compile(
            keras.optimizers.SGD(self._settings.learning_rate, momentum=0.9, nesterov=True),
            loss=_squared_hinge,
            metrics=[self._accuracy(threshold=0)],
        )
        callbacks = [progress]
        if validation:
            callbacks.append(keras.callbacks.EarlyStopping(patience=_PATIENCE, restore_best_weights=True))
        return self._fit_network(examples, epochs, callbacks, validation)

    def probabilities(self, sequences: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
        """Returns the probabilities, (texts, classes), of sequences of word indices."""
        output: NDArray[np.float32] = softmax(self._logits(sequences), axis=1)
        return output

    def temperature(self, examples: Examples) -> float:
        """Returns the temperature at which the probabilities of these texts, not fitted on, are the likeliest."""
        return fit_temperature(self._logits(examples.sequences), examples.classes)

    def divide_logits(self, temperature: float) -> None:
        """Calibrates the fitted network, and rounds its kernel to float16, in which it is exported."""
        kernel, bias = self.network.get_weights()
        kernel = (kernel / temperature).astype(np.float16)
        self.network.set_weights([kernel.astype(np.float32), bias / np.float32(temperature)])

    def dense_weights(self) -> list[NDArray[np.floating[Any]]]:
        """Returns the float16 kernel, with a row for every feature, and the bias."""
        kept, bias = self.network.get_weights()
        kernel = np.zeros((self.vectorizer.features, self._output.units), np.float16)
        kernel[self._kept] = kept
        return [kernel, bias]

    def _logits(self, sequences: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
        output = np.concatenate(
            [
                self.network.predict(self._batches(sequences[first : first + _TEXTS_AT_ONCE]), verbose=0)
                for first in range(0, len(sequences), _TEXTS_AT_ONCE)
            ]
        )
        return np.hstack([np.zeros_like(output), output]) if self._binary else output

    def _batches(
        self,
        sequences: Sequence[NDArray[np.int32]],
        targets: NDArray[np.float32] | None = None,
        shuffle_seed: int | None = None,
    ) -> tf.data.Dataset:
        return sparse_batches(self._vectors(sequences), self._settings.batch_size, targets, shuffle_seed)

    def _vectors(self, sequences: Sequence[NDArray[np.int32]]) -> csr_array:
        """Returns the vectors of texts, float32 (texts, kept features)."""
        features = ngrams.features(self.vectorizer, sequences)
        values = ngrams.weigh(self.vectorizer, features, self.scale.astype(np.float32))
        kept = self.scale[features.ids] != 0
        columns = np.searchsorted(self._kept, features.ids[kept]).astype(np.int32)
        row_splits = np.concatenate(([0], np.cumsum(kept)))[features.row_splits]
        return csr_array((values[kept], columns, row_splits), shape=(len(sequences), len(self._kept)))


def _squared_hinge(targets: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
    """Returns the loss of each text, summed over the units. Keras's own is their mean: slower the more classes."""
    return tf.reduce_sum(tf.square(tf.nn.relu(1 - (2 * targets - 1) * output)), axis=-1)
