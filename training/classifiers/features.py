"""Turns texts into sparse matrices of n-gram features, all texts at once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from textmodel import hashed_ngrams, ngrams
from textmodel.metadata import CharacterNGrams, HashedNGrams, NGrams
from training.classifiers import linear_svm
from training.classifiers.feature_weights import document_frequency, feature_weights
from training.data.keras_datasets import Examples
from training.settings import OWN_DATA, Settings


def vectorizer(settings: Settings) -> NGrams | HashedNGrams:
    """Returns the vectorizer of these settings: n-grams of word indices for Keras's data sets, hashed n-grams for text.
    A hashed one keeps no feature yet.
    """
    if settings.data_set != OWN_DATA:
        words = settings.max_ngram or 1
        buckets = settings.buckets if words > 1 else 0
        return NGrams(settings.num_words, words, buckets, settings.term_frequency, normalize=True)
    characters = settings.char_ngrams and CharacterNGrams(
        *settings.char_ngrams, across_words=settings.char_spans == "across-words"
    )
    return HashedNGrams(
        words=settings.max_ngram or 0,
        characters=characters,
        buckets=settings.buckets,
        kept=0,
        counts=settings.term_frequency,
        normalize=True,
    )


def describe(settings: Settings) -> str:
    """Returns a description of the features that the settings choose."""
    parts = []
    if settings.max_ngram:
        parts.append("words" if settings.max_ngram == 1 else f"words 1-{settings.max_ngram}")
    if settings.char_ngrams:
        parts.append("characters {}-{} {}".format(*settings.char_ngrams, (settings.char_spans or "").replace("-", " ")))
    notes = [" (min_df 1)"] * (settings.min_df == 1) + [" (divergence^0)"] * (settings.divergence_power == 0)
    return " + ".join(parts) + "".join(notes)


def count_matrix(vectorizer: NGrams | HashedNGrams, examples: Examples) -> csr_array:
    """Returns the count of each feature in each text, int32 (texts, features)."""
    if isinstance(vectorizer, NGrams):
        found = ngrams.features(vectorizer, examples.sequences)
    else:
        found = hashed_ngrams.features(vectorizer, examples.texts or ())
    return csr_array((found.counts, found.ids, found.row_splits), shape=(len(examples), vectorizer.features))


class Weighting(NamedTuple):
    """The kept features and their weights."""

    vectorizer: NGrams | HashedNGrams
    kept: NDArray[np.int64]
    """(kept,), the kept features in ascending order."""
    scale: NDArray[np.float16]
    """(kept,), the weight of each kept feature, above 0."""

    def vectors(self, counts: csr_array) -> csr_array:
        """Returns the vectors of texts, float32 (texts, kept), of length 1, or 0 for a text without kept features.

        Args:
            counts: (texts, features)
        """
        found = hashed_ngrams.rows_of(ngrams.Features(counts.indptr, counts.indices, counts.data), self.kept)
        values = ngrams.weigh(self.vectorizer, found, self.scale.astype(np.float32))
        row_splits = found.row_splits
        if row_splits[-1] <= linear_svm.MAX_COMPONENTS:
            row_splits = row_splits.astype(np.int32)  # scikit-learn takes no other type
        return csr_array((values, found.ids, row_splits), shape=(counts.shape[0], len(self.kept)))


def fit_weighting(
    settings: Settings, counts: csr_array, targets: csr_array, max_features: int | None = None
) -> Weighting:
    """Weighs the features of training texts.

    Args:
        settings: how the features are weighed.
        counts: (texts, features)
        targets: (texts, classes), the targets of training: see `training.data.targets`.
        max_features: maximum number of features to keep: those with the highest weight, times the square root of the
            number of texts that contain the feature. None: all.
    """
    weights = feature_weights(
        counts,
        targets,
        min_df=settings.required_min_df,
        idf_power=settings.idf_power,
        divergence_power=settings.divergence_power,
    )
    kept = np.flatnonzero(weights)
    if max_features is not None and len(kept) > max_features:
        texts = document_frequency(counts, targets)[kept]
        importance = weights[kept].astype(np.float32) * np.sqrt(texts)
        kept = np.sort(kept[np.argsort(-importance, kind="stable")[:max_features]])
    return Weighting(vectorizer(settings), kept, weights[kept])
