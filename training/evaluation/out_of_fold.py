"""Logits of labelled texts by classifiers of the `ngram` preset that have not learned them: of cross-validation, each
text by the classifier of its fold, which learned from the other folds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.classifiers import features, linear_svm
from training.classifiers.selection import select
from training.data.keras_datasets import Examples
from training.settings import OWN_DATA, PRESETS, Settings

_BOTH: Mapping[str, Any] = {"features": "both", "max_ngram": 2, "char_ngrams": (1, 5), "char_spans": "across-words"}
_WORDS: Mapping[str, Any] = {"features": "words", "max_ngram": 2}
_CHARACTERS: Mapping[str, Any] = {"features": "characters", "char_ngrams": (1, 3), "char_spans": "across-words"}
_SHORT = 300
"""Characters of a text, on average, up to which texts are read by all of their n-grams: the words of longer ones are
enough, and ten times faster."""
_LONG_WORD = 10
"""Characters between white space, on average, from which texts have no spaces between words."""
_MIN_BUCKETS = 1 << 16
"""There are four buckets or more for each character, up to the preset's number: few texts are checked faster so."""
_SAMPLE_TEXTS = 5_000
_SAMPLE_CHARACTERS = 1_000_000
"""Of the texts that the cost is chosen on."""
_TOLERANCE = 0.1
"""As in the trials of `training.classifiers.selection`: the accuracy is that of a longer fit."""


def choose_settings(examples: Examples, classes: int, seed: int = 0) -> Settings:
    """Returns the settings of the `ngram` preset: with features that suit the length of the texts, and the cost that
    suits a sample.
    """
    texts = examples.texts or ()
    lengths = np.array([len(text) for text in texts])
    order = np.random.default_rng(seed).permutation(len(examples))
    count = int(np.searchsorted(np.cumsum(lengths[order]), _SAMPLE_CHARACTERS))
    sample = examples.take(np.sort(order[: max(1, min(count, _SAMPLE_TEXTS))]))
    preset = PRESETS[OWN_DATA]["ngram"]
    buckets = min(preset.buckets, max(_MIN_BUCKETS, 1 << int(4 * lengths.sum()).bit_length()))
    choice = _BOTH if lengths.mean() <= _SHORT else _features_of_long(sample.texts or ())
    settings = replace(preset, buckets=buckets, min_df=preset.required_min_df, **choice)
    return select(settings, sample, classes).best.settings


def _features_of_long(texts: Sequence[str]) -> Mapping[str, Any]:
    words = sum(len(text.split()) for text in texts)
    return _WORDS if sum(map(len, texts)) < _LONG_WORD * words else _CHARACTERS


def logits(
    settings: Settings,
    examples: Examples,
    classes: int,
    fold: NDArray[np.int64],
    fitted: Callable[[int], object] = lambda _: None,
) -> NDArray[np.float32]:
    """Returns logits, (texts, units): a unit for each class; of two classes, class 1 alone.

    Args:
        settings: with one choice of features, and with the cost.
        examples: the texts.
        classes: number of classes.
        fold: (texts,), from 0.
        fitted: called with the number of folds that are done.
    """
    counts = features.count_matrix(features.vectorizer(settings), examples)
    targets = examples.learned(classes)
    wanted = np.array([1]) if classes == 2 else np.arange(classes)
    found = np.empty((len(examples), len(wanted)), np.float32)
    for number in range(int(fold.max()) + 1):
        learned, held_out = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        weighting = features.fit_weighting(settings, counts[learned], targets[learned])
        model = linear_svm.fit(
            weighting.vectors(counts[learned]),
            examples.classes[learned],
            wanted,
            cost=settings.required_cost,
            seed=settings.seed,
            tolerance=_TOLERANCE,
        )
        found[held_out] = weighting.vectors(counts[held_out]) @ model.kernel + model.bias
        fitted(number + 1)
    return found
