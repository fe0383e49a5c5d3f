"""Runs versions, each with its own engine, over labelled samples. A batch of texts is in memory at a time."""

import heapq
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from textfiles import InputError
from textmodel import VersionFolder, load_engine
from training.data.labelled_file import LabelledFile, Row
from training.evaluation.comparison import Comparison
from training.evaluation.metrics import Answers, Evaluation, evaluate_answers

MISTAKES = 20
"""How many mistakes an evaluation keeps."""
EXCERPT = 300
"""Characters of a mistake's text that are kept."""

_BATCH_TEXTS = 256
_BATCH_CHARACTERS = 1 << 20


class Version:
    """A version with its engine loaded.

    Raises:
        ModelError: it cannot be.
    """

    def __init__(self, path: Path) -> None:
        self.folder = VersionFolder(path)
        self.engine = load_engine(path)
        self.labels = self.folder.labels


class Mistake(NamedTuple):
    """A text that a version gave another label than its own."""

    line: int
    """In Parquet the row."""
    label: str
    predicted: str
    confidence: float
    excerpt: str
    """Its first `EXCERPT` characters."""


@dataclass(frozen=True)
class SampleEvaluation:
    """What a version made of a file of labelled texts."""

    version: Version
    file: Path
    texts: int
    evaluation: Evaluation
    unknown_word_ratio: float
    """Share of the words of the texts that the version's vocabulary does not hold; 0 without words."""
    mistakes: list[Mistake]
    """The `MISTAKES` most confident, by falling confidence."""


def evaluate_file(version: Version, file: LabelledFile) -> SampleEvaluation:
    """Evaluates a version on all texts of a file. What is kept of a text are 24 bytes.

    Raises:
        InputError: the file or a row cannot be used, or it holds no text or a label that the version does not have.
    """
    class_of = {label: number for number, label in enumerate(version.labels)}
    parts: list[Answers] = []
    mistakes: list[Mistake] = []
    words = known_words = 0
    for rows in _batches(_rows(file, version.labels)):
        prediction = version.engine.classify([row.text for row in rows])
        answers = Answers.of(prediction.probabilities, np.array([class_of[row.label] for row in rows]))
        parts.append(answers)
        words += int(prediction.words.sum())
        known_words += int(prediction.known_words.sum())
        wrong = (
            Mistake(
                rows[at].number,
                rows[at].label,
                version.labels[answers.predicted[at]],
                float(answers.confidence[at]),
                rows[at].text[:EXCERPT],
            )
            for at in np.flatnonzero(answers.predicted != answers.classes)
        )
        mistakes = heapq.nlargest(MISTAKES, [*mistakes, *wrong], key=lambda mistake: mistake.confidence)
    everything = Answers(*map(np.concatenate, zip(*parts, strict=True)))
    return SampleEvaluation(
        version=version,
        file=file.path,
        texts=len(everything.classes),
        evaluation=evaluate_answers(everything, len(version.labels)),
        unknown_word_ratio=1 - known_words / words if words else 0.0,
        mistakes=mistakes,
    )


def compare_on_file(a: Version, b: Version, file: LabelledFile) -> Comparison:
    """Compares two versions on all texts of a file.

    Raises:
        InputError: the file or a row cannot be used, or it holds no text or a label that neither version has.
    """
    return compare(a, b, _rows(file, tuple(dict.fromkeys((*a.labels, *b.labels)))))


def compare(a: Version, b: Version, rows: Iterable[Row]) -> Comparison:
    """Compares two versions on rows, at least one, by the names of the labels: one that only one of the versions has,
    the other never has right.
    """
    right = [[_right(version, batch) for version in (a, b)] for batch in _batches(rows)]
    return Comparison.of(*map(np.concatenate, zip(*right, strict=True)))


def _right(version: Version, rows: list[Row]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    predicted = version.engine.classify([row.text for row in rows]).probabilities.argmax(axis=1)
    return np.array([version.labels[winner] == row.label for winner, row in zip(predicted, rows, strict=True)])


def _rows(file: LabelledFile, labels: Collection[str]) -> Iterator[Row]:
    """Reads the rows, of which there is one at least, and whose labels are all among these."""
    row = None
    for row in file.rows():
        if row.label not in labels:
            raise InputError(
                f"{file.where(row.number)}: the label {row.label!r} is none of the model's: {', '.join(labels)}"
            )
        yield row
    if row is None:
        raise InputError(f"{file.path}: holds no text")


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    characters = 0
    for row in rows:
        batch.append(row)
        characters += len(row.text)
        if len(batch) == _BATCH_TEXTS or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
