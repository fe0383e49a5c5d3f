"""Runs versions, each with its own engine, on labelled texts. Only one batch of texts is in memory at a time."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from textfiles import InputError, counted, listed
from textmodel import VersionFolder, load_engine
from textmodel.batches import bounded_batches
from training.data import text_hashes
from training.data.bad_rows import BadRows
from training.data.labelled_file import LabelledFiles, LabelledText
from training.data.labels import label_of, spelling_note
from training.evaluation.abstention import SelectiveMetrics, selective_metrics
from training.evaluation.comparison import AccuracyComparison, MacroF1Comparison
from training.evaluation.metrics import Answers, Evaluation, evaluate_answers

MAX_MISTAKES = 20
"""Maximum number of mistakes that an evaluation keeps."""
EXCERPT = 300
"""Maximum number of characters that are kept of a mistake's text."""

_T = TypeVar("_T")
_BATCH_TEXTS = 256
_BATCH_CHARACTERS = 1 << 20


class LoadedVersion:
    """A version with its engine loaded.

    Raises:
        ModelError: the version cannot be loaded.
    """

    def __init__(self, path: Path) -> None:
        self.folder = VersionFolder(path)
        self.engine = load_engine(path)
        labels = tuple(map(label_of, self.folder.labels))
        self.labels = labels if len(set(labels)) == len(labels) else self.folder.labels
        """The labels, in the form that labels of files have, unless two would become equal."""
        self.training_hashes = text_hashes.read(path)
        """The sorted hashes of the texts that the version has learned. None: it does not record them."""

    def has_learned(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Tells which texts, by their hashes (n,), the version has learned, as far as it records them."""
        return text_hashes.contained(hashes, self.training_hashes)


class Mistake(NamedTuple):
    """A text to which a version gives a wrong label."""

    where: str
    """The number of the text's line, or of its row in Parquet. With several files, the file's name precedes it."""
    label: str
    predicted: str
    confidence: float
    excerpt: str
    """The first `EXCERPT` characters of the text."""


@dataclass(frozen=True)
class FileEvaluation:
    """The evaluation of a version on the texts of files."""

    version: LoadedVersion
    files: LabelledFiles
    labels: Sequence[str]
    """The version's labels, followed by the labels of the texts that it does not know."""
    texts: int
    evaluation: Evaluation
    """The metrics over all labels. The log loss leaves out texts whose labels the version does not know."""
    unknown_word_ratio: float
    """The share of the texts' words that the version does not know; 0 if the texts have no words."""
    learned: int
    """The number of texts that the version has learned."""
    selective: SelectiveMetrics | None
    """The metrics if answers below the version's thresholds are left out; None if it has no thresholds."""
    mistakes: list[Mistake]
    """The `MAX_MISTAKES` most confident mistakes, the most confident first."""

    @property
    def unknown_labels(self) -> dict[str, int]:
        """The number of texts of each label that the version does not know."""
        known = len(self.version.labels)
        return dict(zip(self.labels[known:], map(int, self.evaluation.support[known:]), strict=True))


def evaluate_files(version: LoadedVersion, files: LabelledFiles, bad_rows: BadRows) -> FileEvaluation:
    """Evaluates a version on all texts of files. A text with a label that the version does not know counts as wrong.
    Memory holds 24 bytes per text.

    Args:
        version: the version.
        files: the files.
        bad_rows: collects the rows that cannot be used. The function enters and leaves it.

    Raises:
        InputError: a file or a row cannot be used, or the files have no text with a label that the version knows.
    """
    class_of = _classes(version.labels)
    parts: list[Answers] = []
    mistakes: list[Mistake] = []
    words = known_words = learned = 0
    with bad_rows:
        for batch in batches(files.rows(bad_rows), lambda row: len(row[1].text)):
            prediction = version.engine.classify([row.text for _, row in batch])
            classes = np.array([class_of.setdefault(row.label, len(class_of)) for _, row in batch])
            answers = Answers.of(prediction.probabilities, classes)
            parts.append(answers)
            words += int(prediction.words.sum())
            known_words += int(prediction.known_words.sum())
            learned += int(version.has_learned(_hashes(row for _, row in batch)).sum())
            wrong = (
                Mistake(
                    f"{row.number:,}" if len(files.files) == 1 else f"{file.name}: {row.number:,}",
                    row.label,
                    version.labels[answers.predicted[at]],
                    float(answers.confidence[at]),
                    row.text[:EXCERPT],
                )
                for at in np.flatnonzero(answers.predicted != answers.classes)
                for file, row in [batch[at]]
            )
            mistakes = heapq.nlargest(MAX_MISTAKES, [*mistakes, *wrong], key=lambda mistake: mistake.confidence)
    if not parts:
        raise InputError(f"{files}: holds no text")
    everything = Answers(*map(np.concatenate, zip(*parts, strict=True)))
    if not (everything.classes < len(version.labels)).any():
        raise _no_known_label(str(files), list(class_of)[len(version.labels) :], version.labels)
    abstention = version.folder.metadata.abstention
    return FileEvaluation(
        version=version,
        files=files,
        labels=list(class_of),
        texts=len(everything.classes),
        evaluation=evaluate_answers(everything, len(class_of), known_classes=len(version.labels)),
        unknown_word_ratio=1 - known_words / words if words else 0.0,
        learned=learned,
        selective=selective_metrics(everything, abstention.thresholds) if abstention else None,
        mistakes=mistakes,
    )


@dataclass(frozen=True)
class VersionComparison:
    """The comparison of two versions, A and B, on the texts that neither has learned."""

    accuracy: AccuracyComparison | None
    """The comparison by accuracy; None if there is no such text."""
    macro_f1: MacroF1Comparison | None
    learned: int
    """The number of texts that were left out because A or B has learned them."""
    label_texts: Mapping[str, int]
    """The number of compared texts of each label."""
    known_labels: tuple[Sequence[str], Sequence[str]] = ((), ())
    """The labels of A and of B."""

    @property
    def unknown_labels(self) -> dict[str, int]:
        """The number of texts of each label that neither version knows. Both are wrong on these texts."""
        known = {label for labels in self.known_labels for label in labels}
        return {label: texts for label, texts in self.label_texts.items() if label not in known}

    def notes(self, a: str, b: str) -> list[str]:
        """Returns caveats to show with the verdict, one or two sentences each. `a` and `b` name the versions."""
        found = []
        if self.learned:
            found.append(f"Left out {counted(self.learned, 'text')} that one of the versions has learned.")
        if neither := self.unknown_labels:
            note = spelling_note(neither, chain(*self.known_labels))
            found.append(f"Neither version knows {_of_texts(neither)}: counted as wrong.{note}")
        for name, own, other in zip((a, b), self.known_labels, reversed(self.known_labels), strict=True):
            alone = {
                label: self.label_texts[label] for label in other if label in self.label_texts and label not in own
            }
            if alone:
                note = spelling_note(alone, own)
                found.append(f"{name} does not know {_of_texts(alone)}: it is wrong on all of them.{note}")
        return found


def _of_texts(labels: Mapping[str, int]) -> str:
    return f"the label{'s' * (len(labels) > 1)} {listed(labels)} of {counted(sum(labels.values()), 'text')}"


def compare(a: LoadedVersion, b: LoadedVersion, rows: Iterable[LabelledText]) -> VersionComparison:
    """Compares two versions on the rows that neither has learned. Labels are matched by name: a version is wrong on the
    texts of a label that it does not know.
    """
    class_of = _classes(a.labels, b.labels)
    learned = 0
    parts: list[NDArray[np.int64]] = [np.empty((3, 0), np.int64)]
    for batch in batches(rows, lambda row: len(row.text)):
        hashes = _hashes(batch)
        new = ~(a.has_learned(hashes) | b.has_learned(hashes))
        learned += int((~new).sum())
        texts = [row for row, is_new in zip(batch, new, strict=True) if is_new]
        if texts:
            classes = [class_of.setdefault(row.label, len(class_of)) for row in texts]
            parts.append(np.array([classes, *(_predicted(version, texts, class_of) for version in (a, b))]))
    classes, of_a, of_b = np.concatenate(parts, axis=1)
    labels = list(class_of)
    return VersionComparison(
        accuracy=AccuracyComparison.of(of_a == classes, of_b == classes) if len(classes) else None,
        macro_f1=MacroF1Comparison(classes, of_a, of_b) if len(classes) else None,
        learned=learned,
        label_texts=Counter(labels[number] for number in classes.tolist()),
        known_labels=(a.labels, b.labels),
    )


def compare_on_files(a: LoadedVersion, b: LoadedVersion, files: LabelledFiles, bad_rows: BadRows) -> VersionComparison:
    """Compares two versions on all texts of files.

    Args:
        a: a version.
        b: another version.
        files: the files.
        bad_rows: collects the rows that cannot be used. The function enters and leaves it.

    Raises:
        InputError: a file or a row cannot be used, or there is no text to compare the versions on.
    """
    with bad_rows:
        result = compare(a, b, (row for _, row in files.rows(bad_rows)))
    if result.accuracy is None:
        reason = (
            f"one of the versions has learned all of {counted(result.learned, 'text')}"
            if result.learned
            else "holds no text"
        )
        raise InputError(f"{files}: {reason}: give other texts")
    if sum(result.unknown_labels.values()) == result.accuracy.texts:
        raise _no_known_label(str(files), list(result.unknown_labels), _classes(a.labels, b.labels))
    return result


def _classes(*labels: Sequence[str]) -> dict[str, int]:
    """Numbers the labels of several lists, without repetition, in order."""
    return {label: number for number, label in enumerate(dict.fromkeys(label for some in labels for label in some))}


def _predicted(version: LoadedVersion, texts: Sequence[LabelledText], class_of: dict[str, int]) -> list[int]:
    winners = version.engine.classify([row.text for row in texts]).probabilities.argmax(axis=1)
    return [class_of[version.labels[winner]] for winner in winners]


def _hashes(rows: Iterable[LabelledText]) -> NDArray[np.uint64]:
    return np.array([text_hashes.text_hash(row.text) for row in rows], np.uint64)


def _no_known_label(files: str, labels: Iterable[str], known: Iterable[str]) -> InputError:
    return InputError(
        f"{files}: the model knows none of the labels {listed(labels)}: its labels are {listed(known)}: check"
        " --label-column"
    )


def batches(rows: Iterable[_T], length: Callable[[_T], int]) -> Iterator[list[_T]]:
    """Yields rows in batches that bound what an engine holds in memory.

    Args:
        rows: the rows.
        length: returns how many characters a row's text has.
    """
    return bounded_batches(rows, length, max_items=_BATCH_TEXTS, max_characters=_BATCH_CHARACTERS)
