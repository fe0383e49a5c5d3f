"""Targets: for each text, the weight of each class, in training and in validation.

A text with a label has the weight 1 for its class. A text with a soft label has a weight for each class that it may
have: the probability of that class. For a loss that is a sum over the texts, this equals a copy of the text for each of
these classes, with that weight. So a training method needs to know only `Copies`, not soft labels and weights.
"""

import itertools
from array import array
from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from training.data.labelled_file import LabelledText
from training.data.soft_labels import SoftColumns


@dataclass(frozen=True)
class Targets:
    """The targets of texts that have soft labels or weights.

    Args:
        learned: float64 (texts, classes), the targets of training: the weight of each text, times the probability of
            each class by its soft label, or 1 for its label.
        judged: the targets of validation: the same, except that a text with both is judged by its label.
    """

    learned: csr_array
    judged: csr_array

    def part(self, rows: slice | NDArray[np.int64]) -> "Targets":
        """Returns the targets of some of the texts."""
        return Targets(self.learned[rows], self.judged[rows])


def one_hot(classes: NDArray[np.int64], count: int) -> csr_array:
    """Returns the targets of texts that have only labels, float64 (texts, count).

    Args:
        classes: (texts,)
        count: number of classes.
    """
    texts = len(classes)
    return csr_array((np.ones(texts), classes, np.arange(texts + 1)), shape=(texts, count))


class Copies(NamedTuple):
    """Copies of texts: each text once for each class that it may have."""

    rows: NDArray[np.int64]
    """(copies,), the position of each copy's text, in ascending order."""
    classes: NDArray[np.int64]
    """(copies,)"""
    weights: NDArray[np.float64]
    """(copies,), above 0."""

    @classmethod
    def of(cls, targets: csr_array) -> "Copies":
        """Returns the copies that targets, (texts, classes), stand for."""
        rows = np.repeat(np.arange(targets.shape[0]), np.diff(targets.indptr))
        return cls(rows, targets.indices.astype(np.int64), targets.data)

    def among(self, classes: NDArray[np.int64]) -> "Copies":
        """Returns the copies of some classes. Their class numbers become positions in `classes`.

        Args:
            classes: (n,), in ascending order.
        """
        mine = np.isin(self.classes, classes)
        return Copies(self.rows[mine], np.searchsorted(classes, self.classes[mine]), self.weights[mine])

    def of_texts(self, vectors: csr_array) -> csr_array:
        """Returns the vector of each copy, given the vectors of the texts."""
        return vectors if np.array_equal(self.rows, np.arange(vectors.shape[0])) else vectors[self.rows]


class RowTargets:
    """Collects the labels, soft labels and weights of rows.

    Args:
        columns: the columns of soft labels and weights. If there are soft labels, no other labels occur.
    """

    def __init__(self, columns: SoftColumns) -> None:
        self.labels: dict[str, int] = defaultdict(itertools.count().__next__)
        """The number of each label, in the order of occurrence."""
        for label in columns.probabilities:
            self.labels[label]
        self._columns = columns
        self._classes = array("q")
        self._labelled = array("b")
        self._soft_labels, self._probabilities, self._soft_ends = array("q"), array("d"), array("q")
        """All soft labels: the labels' numbers and probabilities, and where those of each row end."""
        self._weights = array("d")

    def add(self, row: LabelledText) -> None:
        """Adds a row with a weight above 0."""
        soft = row.soft_label or {}
        self._classes.append(self.labels[row.label or max(soft, key=soft.__getitem__)])
        self._labelled.append(bool(row.label))
        if self._columns:
            self._soft_labels.extend(map(self.labels.__getitem__, soft))
            self._probabilities.extend(soft.values())
            self._soft_ends.append(len(self._soft_labels))
            self._weights.append(row.weight)

    def sorted_labels(self) -> tuple[str, ...]:
        """Returns the labels, in the order of the classes."""
        return tuple(sorted(self.labels))

    def _positions(self) -> NDArray[np.int64]:
        """Returns the class of each label's number, (labels,)."""
        positions = np.empty(len(self.labels), np.int64)
        positions[[self.labels[label] for label in self.sorted_labels()]] = np.arange(len(self.labels))
        return positions

    def classes(self) -> NDArray[np.int64]:
        """Returns the class of each row, (rows,). A row with only a soft label has its most probable class."""
        return self._positions()[np.frombuffer(self._classes, np.int64)]

    def labelled(self) -> NDArray[np.bool_]:
        """Tells which rows have a label, (rows,), rather than only a soft label."""
        return np.frombuffer(self._labelled, np.bool_)

    def soft(self) -> NDArray[np.bool_]:
        """Tells which rows have a soft label, (rows,)."""
        return np.diff(np.frombuffer(self._soft_ends, np.int64), prepend=0) > 0

    def weights(self) -> NDArray[np.float64]:
        """Returns the weights of the rows, (rows,). It needs columns of soft labels or weights."""
        return np.frombuffer(self._weights)

    def targets(self) -> Targets:
        """Returns the targets of the rows. It needs columns of soft labels or weights."""
        labels = one_hot(self.classes(), len(self.labels))
        classes = self._positions()[np.frombuffer(self._soft_labels, np.int64)]
        row_splits = np.append(0, np.frombuffer(self._soft_ends, np.int64))
        soft = csr_array((np.frombuffer(self._probabilities), classes, row_splits), shape=labels.shape)
        return Targets(
            learned=_either(self.soft(), soft, labels, self.weights()),
            judged=_either(~self.labelled(), soft, labels, self.weights()),
        )


def _either(mask: NDArray[np.bool_], yes: csr_array, no: csr_array, weights: NDArray[np.float64]) -> csr_array:
    """Returns the rows of `yes` where the mask is true and those of `no` elsewhere, times the weights.

    Args:
        mask: (rows,)
        yes: (rows, columns)
        no: (rows, columns)
        weights: (rows,)
    """
    rows = csr_array(diags_array(mask * weights) @ yes + diags_array(~mask * weights) @ no)
    rows.eliminate_zeros()
    rows.sort_indices()
    return rows
