"""Which classes texts are learned as, and judged by: a weight for each text and class.

A text with a label has the weight 1 for its class. One with a soft label has a weight for each class that it may have:
its probability. To a loss that is a sum over the texts this is the same as a copy of the text for each of these classes,
with that weight; so `Copies` is all that a method has to know of soft labels and of weights.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array


@dataclass(frozen=True)
class Targets:
    """The targets of texts that have soft labels or weights.

    Args:
        learned: float64 (texts, classes), the weight of each text times the probability of each class: its soft label's,
            or 1 for its label.
        judged: the same for validation: a text with both is judged by its label.
    """

    learned: csr_array
    judged: csr_array

    def part(self, rows: slice | NDArray[np.int64]) -> "Targets":
        """Returns those of some of the texts."""
        return Targets(self.learned[rows], self.judged[rows])


def one_hot(classes: NDArray[np.int64], count: int) -> csr_array:
    """Returns the targets of texts with labels alone, float64 (texts, count).

    Args:
        classes: (texts,)
        count: number of classes.
    """
    texts = len(classes)
    return csr_array((np.ones(texts), classes, np.arange(texts + 1)), shape=(texts, count))


def chosen(
    mask: NDArray[np.bool_], yes: csr_array, no: csr_array, weights: NDArray[np.float64]
) -> csr_array:
    """Returns the rows of one matrix where a mask, (rows,), says so, and of the other elsewhere, times weights, (rows,).
    """
    rows = csr_array(diags_array(mask * weights) @ yes + diags_array(~mask * weights) @ no)
    rows.eliminate_zeros()
    rows.sort_indices()
    return rows


class Copies(NamedTuple):
    """Texts, each once for each class that it may have."""

    rows: NDArray[np.int64]
    """(copies,): which text it is, rising."""
    classes: NDArray[np.int64]
    """(copies,)"""
    weights: NDArray[np.float64]
    """(copies,), above 0."""

    @classmethod
    def of(cls, targets: csr_array) -> "Copies":
        """Returns the copies that targets, (texts, classes), mean."""
        rows = np.repeat(np.arange(targets.shape[0]), np.diff(targets.indptr))
        return cls(rows, targets.indices.astype(np.int64), targets.data)

    def among(self, classes: NDArray[np.int64]) -> "Copies":
        """Returns those of some classes, whose numbers are then their positions among these.

        Args:
            classes: rising.
        """
        mine = np.isin(self.classes, classes)
        return Copies(self.rows[mine], np.searchsorted(classes, self.classes[mine]), self.weights[mine])

    def of_texts(self, vectors: csr_array) -> csr_array:
        """Returns the vector of each copy, from those of the texts."""
        return vectors if np.array_equal(self.rows, np.arange(vectors.shape[0])) else vectors[self.rows]
