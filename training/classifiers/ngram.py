"""The linear classifier on n-gram features: a support vector machine for each class against the rest."""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from textmodel import weights
from textmodel.metadata import HashedNGrams, Layer, NGrams
from training.classifiers import features, linear_svm, temperature_scaling
from training.classifiers.classifier import Classifier
from training.classifiers.features import Weighting
from training.classifiers.temperature_scaling import Calibration
from training.data import unknown_words
from training.data.keras_datasets import Examples
from training.data.targets import Copies
from training.settings import Settings

_TEXTS_AT_ONCE = 2048
"""Number of texts predicted together: the sparse vectors of so many are in memory."""
_MAX_BYTES = {np.float16: 16_000_000, np.int8: 34_000_000}
"""Maximum size of the features in a version folder in bytes, by the type of the kernel."""
_MIN_FEATURES = 1 << 15
"""Number of features that a model may keep, however many classes it has."""
_MIN_CLASSES_INT8 = 10
"""From this number of classes, the weights of hashed n-grams are rounded to 8 bits, not 16."""


class NGramClassifier(Classifier):
    """One dense layer on vectors of length 1, whose features are weighed by the training texts. The kernel is rounded
    as it is exported.

    Args:
        settings: they choose the features and the cost: nothing is left open.
        classes: number of classes.
    """

    vectorizer: NGrams | HashedNGrams
    weighting: Weighting
    """Set by `fit`, like the following attributes."""
    kernel: NDArray[np.float16] | NDArray[np.int8]
    """(kept features, units)"""
    kernel_scale: NDArray[np.float32] | None
    """(units,), the scale of each column of an int8 kernel; None for a float16 kernel."""
    bias: NDArray[np.float32]
    """(units,)"""
    known_words: NDArray[np.uint8]
    """(bits / 8,), for hashed n-grams: the bits of the known words."""

    def __init__(self, settings: Settings, classes: int) -> None:
        super().__init__(settings, classes)
        self.layers = (Layer(1, "sigmoid") if self._binary else Layer(classes, "one-vs-rest"),)
        self.vectorizer = features.vectorizer(settings)

    @property
    def kept(self) -> NDArray[np.int32]:
        """The features that are kept, (kept,), in ascending order."""
        return self.weighting.kept.astype(np.int32)

    @property
    def scale(self) -> NDArray[np.float16]:
        """The weights of the kept features, (kept,), for hashed n-grams; of all features, (features,), for `NGrams`."""
        return self.weighting.scale if isinstance(self.vectorizer, HashedNGrams) else self._spread(self.weighting.scale)

    def dense_weights(self) -> list[NDArray[Any]]:
        """Returns the kernel, with a row for each element of `scale`, and the bias."""
        hashed = isinstance(self.vectorizer, HashedNGrams)
        return [self.kernel if hashed else self._spread(self.kernel), self.bias]

    def _spread(self, rows: NDArray[Any]) -> NDArray[Any]:
        spread = np.zeros((self.vectorizer.features, *rows.shape[1:]), rows.dtype)
        spread[self.weighting.kept] = rows
        return spread

    def fit(self, examples: Examples) -> None:
        """Weighs the features and fits the output layer."""
        counts = features.count_matrix(self.vectorizer, examples)
        learned = examples.learned(self._classes)
        self.weighting = features.fit_weighting(self._settings, counts, learned, self.max_features)
        if isinstance(self.vectorizer, HashedNGrams):
            self.vectorizer = msgspec.structs.replace(self.vectorizer, kept=len(self.weighting.kept))
            self.known_words = unknown_words.known_words(
                examples.texts or (), self._settings.required_min_df, characters=self.vectorizer.characters is not None
            )
        copies = Copies.of(learned)
        self._model = linear_svm.fit(
            copies.of_texts(self.weighting.vectors(counts)),
            copies.classes,
            np.array([1]) if self._binary else np.arange(self._classes),
            cost=self._settings.required_cost,
            weights=copies.weights * self.class_weights(learned)[copies.classes],
            seed=self._settings.seed,
        )
        self.calibrate(temperature_scaling.IDENTITY)

    @property
    def max_features(self) -> int | None:
        """Maximum number of hashed features that are kept, so that the version folder stays small. None: all."""
        if not isinstance(self.vectorizer, HashedNGrams):
            return None
        # The kernel and the scale are written for TensorFlow and for the compiled engine, the bucket for TensorFlow.
        size = 2 * (self.layers[0].units * np.dtype(self._kernel_type).itemsize + 2) + 4
        return max(_MIN_FEATURES, _MAX_BYTES[self._kernel_type] // size)

    @property
    def _kernel_type(self) -> type[np.float16] | type[np.int8]:
        rounded = isinstance(self.vectorizer, HashedNGrams) and self._classes >= _MIN_CLASSES_INT8
        return np.int8 if rounded else np.float16

    def probabilities(self, examples: Examples) -> NDArray[np.float32]:
        """Returns the probabilities, (texts, classes)."""
        kernel = self.kernel.astype(np.float32) * (1 if self.kernel_scale is None else self.kernel_scale)
        found = np.empty((len(examples), self.layers[0].units), np.float32)
        for first in range(0, len(examples), _TEXTS_AT_ONCE):
            some = examples.part(slice(first, first + _TEXTS_AT_ONCE))
            vectors = self.weighting.vectors(features.count_matrix(self.vectorizer, some))
            found[first : first + _TEXTS_AT_ONCE] = vectors @ kernel + self.bias
        return temperature_scaling.probabilities(found)

    def unknown_word_ratio(self, examples: Examples) -> float:
        """Returns the share of the texts' words that the classifier does not know; 0 if the texts have no words."""
        if not isinstance(self.vectorizer, HashedNGrams):
            return super().unknown_word_ratio(examples)
        return unknown_words.unknown_ratio(examples.texts or (), self.known_words)

    def calibrate(self, calibration: Calibration) -> None:
        """Applies a calibration to the weights, and rounds them."""
        kernel = self._model.kernel / np.float32(calibration.temperature)
        self.bias = (self._model.bias / calibration.temperature + calibration.shift).astype(np.float32)
        if self._kernel_type is np.float16:
            self.kernel, self.kernel_scale = kernel.astype(np.float16), None
        else:
            self.kernel, self.kernel_scale = weights.quantize(kernel)
