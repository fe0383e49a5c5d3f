"""The linear classifier on n-gram features: a support vector machine for each class against the rest."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.sparse import csr_array

from textmodel import ngrams
from textmodel.metadata import Layer, NGrams
from training.classifiers import temperature_scaling
from training.classifiers.dense import Classifier, History
from training.classifiers.feature_weights import feature_scale
from training.classifiers.temperature_scaling import Calibration
from training.classifiers.vectorizers import sparse_batches
from training.data.keras_datasets import Examples
from training.settings import Settings

_PATIENCE = 5
"""Epochs without a lower validation loss that end the search: the loss is convex and falls smoothly."""
_TEXTS_AT_ONCE = 2048
"""How many are predicted together: their sparse vectors are held in memory."""


class NGramClassifier(Classifier):
    """Features with a scale that the training texts give, in vectors of length 1, and one dense layer behind them.

    The network has inputs only for features with a scale: a few hundred thousand of millions. Its kernel is rounded to
    float16, in which it is exported.
    """

    vectorizer: NGrams
    scale: NDArray[np.float16]
    """(features,), as `textmodel.ngrams.weigh` takes it. Known after `fit`."""

    def __init__(self, settings: Settings, classes: int) -> None:
        super().__init__(settings, classes)
        self.layers = (Layer(1, "sigmoid") if self._binary else Layer(classes, "one-vs-rest"),)
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
        self._kept = np.flatnonzero(self.scale)
        keras.utils.set_random_seed(self._settings.seed)
        self.network = keras.Sequential(
            [
                keras.Input((len(self._kept),), sparse=True),
                keras.layers.Dense(self.layers[0].units, kernel_initializer="zeros"),
            ]
        )
        self.network.compile(
            keras.optimizers.SGD(self._settings.learning_rate, momentum=0.9, nesterov=True),
            loss=_squared_hinge,
            metrics=[self._accuracy(threshold=0)],
        )
        batches = self._batches(features, self._targets(examples.classes), self._settings.seed)
        if validation is None:
            history = self._fit_network(batches, examples.classes, epochs, [progress], None)
        else:
            held_out = ngrams.features(self.vectorizer, validation.sequences)
            early_stopping = keras.callbacks.EarlyStopping(patience=_PATIENCE, restore_best_weights=True)
            history = self._fit_network(
                batches,
                examples.classes,
                epochs,
                [progress, early_stopping],
                self._batches(held_out, self._targets(validation.classes)),
            )
        self.calibrate(Calibration(temperature=1, shift=0))  # rounds the kernel
        return history

    def probabilities(self, sequences: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
        """Returns the probabilities, (texts, classes), of sequences of word indices."""
        return temperature_scaling.probabilities(self._logits(sequences))

    def calibration(self, examples: Examples) -> Calibration:
        """Returns the calibration that suits these texts, which the network was not fitted on."""
        return temperature_scaling.fit(self._logits(examples.sequences), examples.classes)

    def calibrate(self, found: Calibration) -> None:
        """Makes a calibration part of the network's weights."""
        kernel, bias = self.network.get_weights()
        kernel = (kernel / found.temperature).astype(np.float16)
        self.network.set_weights([kernel.astype(np.float32), bias / found.temperature + found.shift])

    def dense_weights(self) -> list[NDArray[np.floating[Any]]]:
        """Returns the float16 kernel, with a row for every feature, and the bias."""
        kept, bias = self.network.get_weights()
        kernel = np.zeros((self.vectorizer.features, self.layers[0].units), np.float16)
        kernel[self._kept] = kept
        return [kernel, bias]

    def _logits(self, sequences: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
        parts = [sequences[first : first + _TEXTS_AT_ONCE] for first in range(0, len(sequences), _TEXTS_AT_ONCE)]
        return np.concatenate(
            [self.network.predict(self._batches(ngrams.features(self.vectorizer, part)), verbose=0) for part in parts]
        )

    def _batches(
        self, features: ngrams.Features, targets: NDArray[np.float32] | None = None, shuffle_seed: int | None = None
    ) -> tf.data.Dataset:
        return sparse_batches(self._vectors(features), self._settings.batch_size, targets, shuffle_seed)

    def _vectors(self, features: ngrams.Features) -> csr_array:
        """Returns the vectors of texts, float32 (texts, kept features)."""
        values = ngrams.weigh(self.vectorizer, features, self.scale.astype(np.float32))
        kept = self.scale[features.ids] != 0
        columns = np.searchsorted(self._kept, features.ids[kept]).astype(np.int32)
        row_splits = np.concatenate(([0], np.cumsum(kept)))[features.row_splits]
        return csr_array((values[kept], columns, row_splits), shape=(len(features.row_splits) - 1, len(self._kept)))


def _squared_hinge(targets: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
    """Returns the loss of each text, summed over the units. Keras's own is their mean: slower the more classes."""
    return tf.reduce_sum(tf.square(tf.nn.relu(1 - (2 * targets - 1) * output)), axis=-1)
