"""Stratified splits: each class gives the same share, and copies of one text stay on one side."""

import numpy as np
from numpy.typing import NDArray


def draw(
    texts: NDArray[np.uint64], classes: NDArray[np.int64], share: float, keep: int, random: np.random.Generator
) -> NDArray[np.bool_]:
    """Draws rows to hold out: of each class about this share of its rows, and one text at least.

    A text that comes with several labels counts for the first. One with more copies than all that its class should give
    is drawn last.

    Args:
        texts: (rows,), equal for equal texts.
        classes: (rows,)
        share: of the rows, between 0 and 1.
        keep: how many different texts of each class are left at least. Each class has more.
        random: decides which.

    Returns:
        (rows,), whether a row is drawn.
    """
    _, first, text, copies = np.unique(texts, return_index=True, return_inverse=True, return_counts=True)
    class_of_text = classes[first]
    shuffled = random.permutation(len(first))
    by_class = shuffled[np.argsort(class_of_text[shuffled], kind="stable")]
    drawn = np.zeros(len(first), np.bool_)
    for mine in np.split(by_class, np.cumsum(np.bincount(class_of_text))[:-1]):
        wanted = share * copies[mine].sum()
        in_order = mine[np.argsort(copies[mine] > max(wanted, 1), kind="stable")]
        count = np.searchsorted(np.cumsum(copies[in_order]), wanted + 0.5, side="right")
        drawn[in_order[: np.clip(count, 1, len(mine) - keep)]] = True
    return drawn[text]
