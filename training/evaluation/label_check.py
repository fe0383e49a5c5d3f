"""Finds the rows of files whose label may be wrong: because a classifier that has not learned the row finds the label
unlikely, or because other rows have the same text and another label.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from textfiles import InputError, counted, listed
from textfiles.progress import bytes_shown
from training.classifiers.features import describe
from training.data.bad_rows import BadRows
from training.data.keras_datasets import Examples
from training.data.labelled_file import LabelledFile, LabelledFiles, LabelledText
from training.data.labels import SPELLING, alike_among
from training.data.quality import MAX_TEXT_BYTES
from training.data.splitting import fold_of_texts
from training.data.text_hashes import text_hash
from training.data.tokens import tokenize_all
from training.evaluation import label_noise, out_of_fold
from training.evaluation.version_evaluation import batches

FOLDS = 5
"""Number of folds of the cross-validation. A label with fewer different texts cannot be checked."""
_MAX_NAMED = 5


@dataclass(frozen=True)
class LabelledRows:
    """The rows of files whose text has a word and is not too long."""

    files: LabelledFiles
    rows: Sequence[tuple[LabelledFile, LabelledText]]
    labels: tuple[str, ...]
    """All labels, sorted."""
    classes: NDArray[np.int64]
    """(rows,), the position of each row's label in `labels`."""
    texts: NDArray[np.uint64]
    """(rows,), the hash of each row's text, equal for copies of a text."""
    without_words: int
    """Number of rows that were left out because the text has no word."""
    too_long: int
    """Number of rows that were left out because the text is longer than `MAX_TEXT_BYTES`."""

    def examples(self) -> Examples:
        """Returns the rows as examples for classifiers of the `ngram` preset."""
        return Examples([np.empty(0, np.int32)] * len(self.rows), self.classes, [row.text for _, row in self.rows])


class Suspect(NamedTuple):
    """A row whose label may be wrong."""

    file: LabelledFile
    row: LabelledText
    suggested: str
    """The most probable of the other labels."""
    probability: float
    """The probability that the label is wrong."""
    same_text: tuple[LabelledFile, LabelledText] | None
    """The first row with the same text and the suggested label, if there is one."""


@dataclass(frozen=True)
class LabelCheck:
    """The result of a check."""

    rows: LabelledRows
    suspects: Sequence[Suspect]
    """The rows to look at, the most probably wrong label first."""
    unchecked: dict[str, int]
    """The number of rows of each label that has too few texts to be checked."""

    def sentence(self) -> str:
        """Returns the number of listed rows, and how many of their labels are wrong by the sum of the probabilities."""
        found = f"{counted(len(self.rows.rows), 'row')} checked: {counted(len(self.suspects), 'row')} to look at"
        wrong = max(round(sum(suspect.probability for suspect in self.suspects)), 1)
        verb = "is" if wrong == 1 else "are"
        return f"{found}; about {wrong:,} of their labels {verb} wrong." if self.suspects else f"{found}."

    def notes(self) -> list[str]:
        """Returns what was not checked, and what else looks wrong, one sentence each."""
        found = []
        if self.unchecked:
            named = [f"{listed([label])} ({counted(count, 'row')})" for label, count in self.unchecked.items()]
            more = f" and {len(named) - _MAX_NAMED:,} more" if len(named) > _MAX_NAMED else ""
            found.append(
                f"Labels with fewer than {FOLDS} different texts, which cannot be checked:"
                f" {', '.join(named[:_MAX_NAMED])}{more}. Check their spelling."
            )
        if alike := alike_among(self.rows.labels):
            found.append(f"Labels that differ only in {SPELLING}: {listed(alike)}.")
        if self.rows.without_words:
            found.append(f"Left out {counted(self.rows.without_words, 'row')} without a word.")
        if self.rows.too_long:
            found.append(f"Left out {counted(self.rows.too_long, 'row')} longer than {MAX_TEXT_BYTES:,} bytes.")
        return found


def read(files: LabelledFiles, bad_rows: BadRows, console: Console) -> LabelledRows:
    """Reads the rows of files.

    Raises:
        InputError: a file cannot be read, or has no such column.
    """
    kept: list[tuple[LabelledFile, LabelledText]] = []
    seen = too_long = 0
    with bytes_shown(console, f"Reading {files}", files.size()) as progress:
        for batch in batches(files.rows(bad_rows, progress), lambda row: len(row[1].text)):
            short = [each for each in batch if len(each[1].text.encode(errors="replace")) <= MAX_TEXT_BYTES]
            words = tokenize_all([row.text for _, row in short])
            kept += [each for each, found in zip(short, words, strict=True) if found]
            seen, too_long = seen + len(batch), too_long + len(batch) - len(short)
    labels = tuple(sorted({row.label for _, row in kept}))
    class_of = {label: number for number, label in enumerate(labels)}
    return LabelledRows(
        files=files,
        rows=kept,
        labels=labels,
        classes=np.array([class_of[row.label] for _, row in kept], np.int64),
        texts=np.array([text_hash(row.text) for _, row in kept], np.uint64),
        without_words=seen - too_long - len(kept),
        too_long=too_long,
    )


def check(rows: LabelledRows, console: Console) -> LabelCheck:
    """Finds the rows whose label may be wrong.

    Args:
        rows: the rows to check.
        console: where progress is shown.

    Raises:
        InputError: fewer than two labels have enough different texts.
    """
    _require_two_labels(rows)
    return found_in(rows, logits_of(rows, console))


def found_in(rows: LabelledRows, logits: NDArray[np.float32]) -> LabelCheck:
    """Finds the rows whose label may be wrong, by logits, (rows, units), of classifiers that have not learned them."""
    checkable = _checkable(rows)
    noise = label_noise.fit(logits, rows.classes)
    verdicts = label_noise.judge(logits, rows.classes, rows.texts, noise)
    wrong = np.where(checkable[rows.classes], verdicts.wrong, 0)
    listed = label_noise.listed(wrong)
    same_text = _first_rows(rows, listed)
    return LabelCheck(
        rows,
        [
            Suspect(
                file,
                row,
                rows.labels[verdicts.suggested[at]],
                float(wrong[at]),
                same_text.get((rows.texts[at], verdicts.suggested[at])),
            )
            for at in listed
            for file, row in [rows.rows[at]]
        ],
        {rows.labels[each]: int((rows.classes == each).sum()) for each in np.flatnonzero(~checkable)},
    )


def _first_rows(
    rows: LabelledRows, listed: NDArray[np.int64]
) -> dict[tuple[np.uint64, np.int64], tuple[LabelledFile, LabelledText]]:
    """Returns the first row with each text and class, for the texts of the listed rows."""
    found: dict[tuple[np.uint64, np.int64], tuple[LabelledFile, LabelledText]] = {}
    for at in np.flatnonzero(np.isin(rows.texts, rows.texts[listed])):
        found.setdefault((rows.texts[at], rows.classes[at]), rows.rows[int(at)])
    return found


def _checkable(rows: LabelledRows) -> NDArray[np.bool_]:
    """Tells which labels have enough different texts, (labels,)."""
    pairs = np.unique(np.stack([rows.classes.astype(np.uint64), rows.texts]), axis=1)
    return np.bincount(pairs[0].astype(np.int64), minlength=len(rows.labels)) >= FOLDS


def _require_two_labels(rows: LabelledRows) -> None:
    if not rows.labels:
        left_out = rows.without_words or rows.too_long
        reason = "text with a word in it: check --text-column" if left_out else "row that can be used: give others"
        raise InputError(f"{rows.files}: holds no {reason}")
    if len(rows.labels) == 1:
        raise InputError(
            f"{rows.files}: every text has the label {listed(rows.labels)}: two labels are needed: check --label-column"
        )
    checkable = _checkable(rows)
    if checkable.sum() < 2:
        raise InputError(
            f"{rows.files}: two labels with {FOLDS} different texts each are needed, but only"
            f" {int(checkable.sum())} of {len(rows.labels)} has so many: add texts"
        )


def logits_of(rows: LabelledRows, console: Console) -> NDArray[np.float32]:
    """Returns the logits, (rows, units), of classifiers that have not learned the row's text, by cross-validation."""
    examples = rows.examples()
    fold = fold_of_texts(rows.texts, rows.classes, FOLDS, np.random.default_rng(0))
    with console.status("Choosing the cost") as status:
        settings = out_of_fold.choose_settings(examples, len(rows.labels))
        title = f"Cross-validation with {describe(settings)}"
        console.print(title)
        status.update(f"{title}: reading texts")
        return out_of_fold.logits(
            settings,
            examples,
            len(rows.labels),
            fold,
            lambda done: status.update(f"{title}: {done} of {FOLDS} folds"),
        )
