"""The linear classifier on n-gram features: a support vector machine for each class against the rest."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from textmodel import ngrams
from textmodel.metadata import Layer, NGrams
from training.classifiers import linear_svm, temperature_scaling
from training.classifiers.classifier import Classifier
from training.classifiers.feature_weights import feature_weights
from training.classifiers.temperature_scaling import Calibration
from training.data.keras_datasets import Examples
from training.settings import Settings

_TEXTS_AT_ONCE = 2048
"""How many are predicted together: their sparse vectors are held in memory."""


class NGramClassifier(Classifier):
    """Features with a weight that the training texts give, in vectors of length 1, and one dense layer behind them.

    The kernel is rounded to float16, in which it is exported.
    """

    vectorizer: NGrams
    scale: NDArray[np.float16]
    """(features,), as `textmodel.ngrams.weigh` takes it. Known after `fit`."""

    def __init__(self, settings: Settings, classes: int) -> None:
        super().__init__(settings, classes)
        self.layers = (Layer(1, "sigmoid") if self._binary else Layer(classes, "one-vs-rest"),)
        self.vectorizer = vectorizer(settings)

    def fit(self, examples: Examples, cost: float) -> None:
        """Weighs the features and fits the output layer.

        Args:
            examples: texts to learn from.
            cost: as `linear_svm.fit` takes it.
        """
        counts = count_matrix(self.vectorizer, examples.sequences)
        self.scale, self._model = fit(self._settings, counts, examples.classes, np.arange(self._classes), cost=cost)
        self._kept = np.flatnonzero(self.scale)
        self.calibrate(temperature_scaling.IDENTITY)  # rounds the kernel

    def probabilities(self, sequences: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
        """Returns the probabilities, (texts, classes), of sequences of word indices."""
        parts = [sequences[first : first + _TEXTS_AT_ONCE] for first in range(0, len(sequences), _TEXTS_AT_ONCE)]
        found = [logits(self.vectorizer, count_matrix(self.vectorizer, part), self.scale, self._model) for part in parts]
        return temperature_scaling.probabilities(np.concatenate(found))

    def calibrate(self, found: Calibration) -> None:
        """Makes a calibration part of the weights."""
        kernel, bias = self._model
        kernel = (kernel / found.temperature).astype(np.float16)
        self._model = linear_svm.LinearModel(kernel.astype(np.float32), bias / found.temperature + found.shift)

    def dense_weights(self) -> list[NDArray[np.floating[Any]]]:
        """Returns the float16 kernel, with a row for every feature, and the bias."""
        kernel = np.zeros((self.vectorizer.features, self.layers[0].units), np.float16)
        kernel[self._kept] = self._model.kernel
        return [kernel, self._model.bias]


def vectorizer(settings: Settings) -> NGrams:
    """Returns the vectorizer of these settings."""
    buckets = settings.buckets if settings.max_ngram > 1 else 0
    return NGrams(settings.num_words, settings.max_ngram, buckets, settings.term_frequency, normalize=True)


def count_matrix(vectorizer: NGrams, sequences: Sequence[NDArray[np.int32]]) -> csr_array:
    """Returns how often each text has each feature, int32 (texts, features)."""
    found = ngrams.features(vectorizer, sequences)
    return csr_array((found.counts, found.ids, found.row_splits), shape=(len(sequences), vectorizer.features))


def fit(
    settings: Settings, counts: csr_array, classes: NDArray[np.int64], wanted: NDArray[np.int64], *, cost: float
) -> tuple[NDArray[np.float16], linear_svm.LinearModel]:
    """Weighs the features and fits a unit for each of the wanted classes; for two classes in all, one unit.

    Args:
        settings: how features and classes are weighed, and the seed.
        counts: (texts, features)
        classes: (texts,)
        wanted: (units,), rising.
        cost: as `linear_svm.fit` takes it.

    Returns:
        The weights, (features,), and the layer on the features whose weight is not 0.
    """
    weights = feature_weights(
        counts,
        classes,
        min_df=settings.min_df,
        idf_power=settings.idf_power,
        divergence_power=settings.divergence_power,
    )
    model = linear_svm.fit(
        vectors(vectorizer(settings), counts, weights),
        classes,
        wanted,
        cost=cost,
        weights=None if settings.class_weights == "none" else len(wanted) * 0 + _balanced(classes),
        seed=settings.seed,
    )
    return weights, model


def vectors(vectorizer: NGrams, counts: csr_array, weights: NDArray[np.float16]) -> csr_array:
    """Returns the vectors of texts, float32 (texts, features whose weight is not 0)."""
    features = ngrams.Features(counts.indptr, counts.indices, counts.data)
    values = ngrams.weigh(vectorizer, features, weights.astype(np.float32))
    kept = weights != 0
    column = np.cumsum(kept, dtype=np.int32) - 1
    held = kept[counts.indices]
    row_splits = np.concatenate(([0], np.cumsum(held)))[counts.indptr]
    shape = (counts.shape[0], int(kept.sum()))
    return csr_array((values[held], column[counts.indices[held]], row_splits), shape=shape)
