"""Folds of labelled texts, and the features that they are read by."""

import numpy as np
import pytest

from training.data.keras_datasets import Examples
from training.evaluation.out_of_fold import choose_settings, fold_of_texts


def test_copies_are_in_one_fold_and_each_class_in_all() -> None:
    random = np.random.default_rng(0)
    texts = random.integers(0, 200, 400).astype(np.uint64)
    classes = (texts % 3).astype(np.int64)
    fold = fold_of_texts(texts, classes, 5)
    for text in np.unique(texts):
        assert len(np.unique(fold[texts == text])) == 1
    for each in range(3):
        of_texts = [fold[texts == text][0] for text in np.unique(texts[classes == each])]
        counts = np.bincount(of_texts, minlength=5)
        assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize(
    ("text", "times", "features"),
    [("a short text", 1, "both"), ("a long text ", 50, "words"), ("とても長い文章です。", 50, "characters")],
)
def test_the_features_suit_the_length_and_the_script(text: str, times: int, features: str) -> None:
    texts = [f"{number}{text * times}" for number in range(20)]
    examples = Examples([np.empty(0, np.int32)] * 20, np.arange(20) % 2, texts)
    assert choose_settings(examples, classes=2).features == features
