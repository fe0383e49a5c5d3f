"""Folds of labelled texts."""

import numpy as np

from training.evaluation.out_of_fold import fold_of_texts


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
