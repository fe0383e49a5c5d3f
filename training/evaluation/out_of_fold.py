"""Out-of-fold logits by cross-validation: each labelled text gets its logits from an `ngram` classifier that was fitted
on the other folds.
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
"""Up to this mean length in characters, texts get n-grams of words and of characters. For longer texts, n-grams of
words are enough and ten times faster."""
_LONG_WORD = 10
"""From this mean number of characters between white space, texts are taken to have no spaces between words."""
_MIN_BUCKETS = 1 << 16
"""Minimum number of buckets. There are at least four for each character, up to the preset's number. A smaller number
makes the check of few texts faster."""
_SAMPLE_TEXTS = 5_000
"""Maximum number of texts on which the cost is chosen."""
_SAMPLE_CHARACTERS = 1_000_000
"""Maximum number of characters of these texts."""
_TOLERANCE = 0.1
"""Stopping tolerance of the fits, as in `training.classifiers.selection`: a longer fit is not more accurate."""


def choose_settings(examples: Examples, classes: int, seed: int = 0) -> Settings:
    """Returns settings of the `ngram` preset: features for the length of the texts, and the cost that is most accurate
    on a sample.
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
    """Returns logits, (texts, units), with a unit for each class, or for class 1 alone if there are two.

    Args:
        settings: they choose the features and the cost: nothing is left open.
        examples: the texts.
        classes: number of classes.
        fold: (texts,), the fold of each text, from 0.
        fitted: called after each fold, with the number of finished folds.
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
