"""Which classes texts are learned as, and judged by: a weight for each text and class.

A text with a label has the weight 1 for its class. One with a soft label has a weight for each class that it may have:
its probability. To a loss that is a sum over the texts this is the same as a copy of the text for each of these
classes, with that weight. So `Copies` is all that a method has to know of soft labels and of weights.
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
        learned: float64 (texts, classes), the weight of each text times the probability of each class, of its soft
            label or 1 for its label.
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


class RowTargets:
    """Collects the labels, soft labels and weights of rows.

    Args:
        columns: of soft labels, whose labels are then the only ones, and of weights.
    """

    def __init__(self, columns: SoftColumns) -> None:
        self.labels: dict[str, int] = defaultdict(itertools.count().__next__)
        """The number of each label, in the order in which they come."""
        for label in columns.probabilities:
            self.labels[label]
        self._columns = columns
        self._classes = array("q")
        self._labelled = array("b")
        self._soft_labels, self._probabilities, self._soft_ends = array("q"), array("d"), array("q")
        """Of all soft labels: each label's number and its probability, and where those of each row end."""
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
        """Returns the class of each row, (rows,): of one without a label, its most probable class."""
        return self._positions()[np.frombuffer(self._classes, np.int64)]

    def labelled(self) -> NDArray[np.bool_]:
        """Tells which rows have a label, (rows,), and not a soft label alone."""
        return np.frombuffer(self._labelled, np.bool_)

    def soft(self) -> NDArray[np.bool_]:
        """Tells which rows have a soft label, (rows,)."""
        return np.diff(np.frombuffer(self._soft_ends, np.int64), prepend=0) > 0

    def weights(self) -> NDArray[np.float64]:
        """Returns the weights of the rows, (rows,), where there are columns of soft labels or weights."""
        return np.frombuffer(self._weights)

    def targets(self) -> Targets:
        """Returns the targets of the rows, where there are columns of soft labels or weights."""
        labels = one_hot(self.classes(), len(self.labels))
        classes = self._positions()[np.frombuffer(self._soft_labels, np.int64)]
        row_splits = np.append(0, np.frombuffer(self._soft_ends, np.int64))
        soft = csr_array((np.frombuffer(self._probabilities), classes, row_splits), shape=labels.shape)
        return Targets(
            learned=_either(self.soft(), soft, labels, self.weights()),
            judged=_either(~self.labelled(), soft, labels, self.weights()),
        )


def _either(mask: NDArray[np.bool_], yes: csr_array, no: csr_array, weights: NDArray[np.float64]) -> csr_array:
    """Returns the rows of one matrix where a mask says so, and those of the other elsewhere, times weights.

    Args:
        mask: (rows,)
        yes: (rows, columns)
        no: the same.
        weights: (rows,)
    """
    rows = csr_array(diags_array(mask * weights) @ yes + diags_array(~mask * weights) @ no)
    rows.eliminate_zeros()
    rows.sort_indices()
    return rows
