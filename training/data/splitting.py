"""Splits and folds of texts. Copies of a text are on the same side of a split, and a text stays on its side when the
files grow.
"""

import numpy as np
from numpy.typing import NDArray

_KEY_BITS = 32

_MAX_RATIO = 1.5
"""A class may give this factor more or less than its share."""


def keys_for_test(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Returns the half of each hash that decides about the test, (rows,)."""
    return hashes >> np.uint64(_KEY_BITS)


def keys_for_validation(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Returns the half of each hash that decides about validation, (rows,), independent of the other half."""
    return hashes & np.uint64((1 << _KEY_BITS) - 1)


def held_out(
    hashes: NDArray[np.uint64], keys: NDArray[np.uint64], classes: NDArray[np.int64], share: float, keep: int
) -> NDArray[np.bool_]:
    """Tells which rows are held out, (rows,): those whose key is below `share` of the range of keys.

    So each class gives about its share, and a new text does not move other texts. Limits protect small classes: each
    class of more than `keep` different texts gives at least one text, at least two thirds of its share and at most
    three halves of it, in the order of the keys. A text with more copies than its class should give is not held out.
    Where a limit applies, a text may change sides when its class grows.

    Args:
        hashes: (rows,), equal for equal texts. A text that comes with several labels counts for the first.
        keys: (rows,), 32 bits of each hash.
        classes: (rows,)
        share: the share of the texts to hold out, between 0 and 1.
        keep: minimum number of different texts of each class that are not held out. A class without more gives none.
    """
    _, first, text, copies = np.unique(hashes, return_index=True, return_inverse=True, return_counts=True)
    key, class_of_text = keys[first], classes[first]
    by_class = np.lexsort((key, class_of_text))
    drawn = np.zeros(len(first), np.bool_)
    for mine in np.split(by_class, np.cumsum(np.bincount(class_of_text))[:-1]):
        if len(mine):
            rows = share * copies[mine].sum()
            in_order = mine[np.argsort(copies[mine] > max(rows, 1), kind="stable")]
            drawn[in_order[: _count(key[in_order], copies[in_order], share, keep)]] = True
    return drawn[text]


def fold_of_texts(
    texts: NDArray[np.integer], classes: NDArray[np.int64], folds: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Returns the fold of each row, (rows,). Copies of a text are in one fold, so that no classifier is tested on a
    text that it was trained on. Each class is spread evenly over the folds.

    Args:
        texts: (rows,), equal for copies of a text.
        classes: (rows,). A text with several classes counts for the first.
        folds: number of folds.
        random: deals the texts of each class to the folds.
    """
    _, first, text = np.unique(texts, return_index=True, return_inverse=True)
    order = random.permutation(len(first))
    order = order[np.argsort(classes[first][order], kind="stable")]
    fold = np.empty(len(first), np.int64)
    fold[order] = np.arange(len(first)) % folds
    return fold[text]


def _count(keys: NDArray[np.uint64], copies: NDArray[np.int64], share: float, keep: int) -> int:
    """Returns how many of the first texts of a class are held out."""
    candidates = int((copies <= max(share * copies.sum(), 1)).sum())
    below = int((keys[:candidates] < share * (1 << _KEY_BITS)).sum())
    wanted = share * len(keys)
    within = min(max(below, int(wanted / _MAX_RATIO)), int(np.ceil(wanted * _MAX_RATIO)))
    return min(max(1, within), max(0, len(keys) - keep))
