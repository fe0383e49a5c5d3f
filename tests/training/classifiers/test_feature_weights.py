from dataclasses import replace

import numpy as np
import pytest

from textmodel.ngrams import Features
from training.classifiers.feature_weights import feature_scale
from training.settings import PRESETS

SETTINGS = replace(PRESETS["imdb"]["ngram"], min_count=2, idf_power=1, divergence_power=0)
TARGETS = np.eye(2, dtype=np.float32)[[0, 0, 1, 1]]


def _features(*texts: list[int]) -> Features:
    ids = np.concatenate(texts).astype(np.int32)
    return Features(np.cumsum([0, *map(len, texts)]), ids, np.ones_like(ids))


# Feature 0 is in all texts, 1 in both of class 0, 2 in one of each class, 3 in one text.
FEATURES = _features([0, 1, 2], [0, 1], [0, 2, 3], [0])


def test_a_feature_counts_the_more_the_fewer_texts_hold_it_and_nothing_below_the_least_count() -> None:
    scale = feature_scale(FEATURES, 5, TARGETS, SETTINGS)
    assert scale.dtype == np.float16
    rare = np.log(5 / 3) + 1
    np.testing.assert_allclose(scale, [1, rare, rare, 0, 0], rtol=1e-3)


def test_a_feature_counts_the_more_the_further_its_texts_classes_are_from_all_texts_classes() -> None:
    scale = feature_scale(FEATURES, 5, TARGETS, replace(SETTINGS, idf_power=0, divergence_power=1))
    shares = np.array([4.5, 2.5]) / 7  # 2 texts of class 0, and 5 spread over both
    np.testing.assert_allclose(scale, [0, (shares * np.log(shares * 2)).sum(), 0, 0, 0], atol=1e-4)


@pytest.mark.parametrize("power", [0.35, 1])
def test_a_class_without_texts_changes_nothing(power: float) -> None:
    settings = replace(SETTINGS, divergence_power=power)
    one_more = np.hstack([TARGETS, np.zeros((4, 1), np.float32)])
    np.testing.assert_array_equal(
        feature_scale(FEATURES, 5, one_more, settings), feature_scale(FEATURES, 5, TARGETS, settings)
    )
