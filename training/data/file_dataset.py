"""The user's own data: turns files of labelled texts into a data set, in one pass over each file.

Memory holds word indices. The texts are in a temporary file, which is mapped into memory. A word gets a number when it
first occurs. When all rows are read, the words of the training texts are ranked by frequency, as Keras ranks them, and
the numbers become indices.
"""

import itertools
import mmap
from array import array
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from textfiles import InputError, Unreadable, counted, listed
from textfiles.progress import bytes_shown
from textfiles.temporary import temporary_space
from textmodel.tokenization import is_word
from textmodel.vocabulary import FIRST_WORD, START, UNKNOWN, Vocabulary
from training import warnings
from training.data import unknown_words
from training.data.bad_rows import BadRows
from training.data.keras_datasets import Examples, SplitDataset
from training.data.labelled_file import LabelledFile, LabelledFiles, LabelledText, TrainingFiles
from training.data.labels import SPELLING, alike_among, lists_among, without_spelling
from training.data.quality import MAX_TEXT_BYTES, Quality, SoftQuality
from training.data.sequences import FlatSequences, FlatTexts
from training.data.soft_labels import SoftColumns
from training.data.splitting import held_out, keys_for_test, keys_for_validation
from training.data.targets import RowTargets, Targets
from training.data.text_hashes import text_hash
from training.data.tokens import is_visible, tokenize_all
from training.settings import Settings

# The sizes of the blocks that are processed at a time.
_BLOCK_CHARACTERS = 1 << 18
_BLOCK_INDICES = 1 << 22
_BLOCK_TEXTS = 1 << 11

_MANY_SYMBOLS = 0.1
"""Share of the rows to train on from which those of symbols alone are kept."""


@dataclass(frozen=True)
class FileDataset(SplitDataset):
    """A data set of the user's own. Its training texts are shuffled, with those for validation first."""

    validation_texts: int
    quality: Quality
    training_hashes: NDArray[np.uint64]
    """(training texts,), the hashes of the training texts, including those for validation."""
    test_hashes: NDArray[np.uint64]
    """(test texts,), the hashes of the test texts, by which `test_rows` finds them."""


def load(files: TrainingFiles, settings: Settings, console: Console) -> FileDataset:
    """Reads the files and splits their texts.

    Args:
        files: the files to read.
        settings: `num_words`, the maximum number of indices, `validation_split`, and `seed`, which shuffles, are used.
        console: where progress and warnings are shown.

    Raises:
        InputError: a file cannot be used; a row cannot be used and there is no file to list it in; or there are too few
            texts to split.
    """
    is_ngram = settings.preset == "ngram"
    words_alone = not is_ngram or settings.features == "words"
    texts, count, bad = _read(files, console, characters=not words_alone)
    rare_labels = _check(files, texts, count)
    split = _split(files, settings, texts, count)
    targets = _targets(files, texts, split)
    training, test = _examples(texts, split, targets)
    # This must come before indices of the vocabulary replace the numbers of the words.
    in_validation = None if is_ngram else _unknown_ratio(training, split.validation_texts, len(texts.words))
    vocabulary = _index(np.frombuffer(texts.indices, np.int32), texts.words, training, settings.num_words)
    if not is_ngram and len(vocabulary) == FIRST_WORD:
        raise InputError(f"{files.data}: holds no word that a vocabulary can hold: check --text-column")
    if in_validation is None:
        unknown = _unknown_by_hashes(training, split.validation_texts, test, settings)
    else:
        unknown = in_validation, test.unknown_word_ratio
    quality = _quality(
        texts,
        split,
        unknown,
        bad,
        targets,
        rare_labels=rare_labels,
        words_alone=words_alone,
        separate_test=isinstance(files.test, LabelledFiles),
    )
    warnings.show(console, quality.warnings())
    hashes = np.frombuffer(texts.hashes, np.uint64)
    return FileDataset(
        name=files.data.name,
        tokenization="unicode",
        labels=texts.targets.sorted_labels(),
        vocabulary=vocabulary,
        training=training,
        test=test,
        validation_texts=split.validation_texts,
        quality=quality,
        training_hashes=hashes[split.training],
        test_hashes=hashes[split.test],
    )


def _read(files: TrainingFiles, console: Console, *, characters: bool) -> tuple["_Texts", int, int]:
    """Returns the texts of the files, how many of them are to train on, the first ones, and the number of bad rows.

    Args:
        characters: whether the model may have n-grams of characters.
    """
    texts = _Texts(files.data.soft, characters=characters)
    with BadRows(files.bad_rows) as bad_rows:
        texts.read(files.data, bad_rows, console)
        count = len(texts)
        # Without a text to train on, every row to test on would be a bad row, and would hide what is wrong.
        if count and isinstance(files.test, LabelledFiles):
            texts.read(files.test, bad_rows, console, known_labels=frozenset(texts.targets.labels))
    return texts, count, bad_rows.count


def _targets(files: TrainingFiles, texts: "_Texts", split: "_Split") -> Targets | None:
    """Returns the targets of all texts; None if the files have no columns of soft labels or weights."""
    if not files.data.soft:
        return None
    targets = texts.targets.targets()
    if np.count_nonzero(targets.learned[split.training].sum(axis=0)) == 1:
        raise InputError(f"{files.data}: all texts to train on have the same label: check --probability-columns")
    return targets


def _examples(texts: "_Texts", split: "_Split", targets: Targets | None) -> tuple[Examples, Examples]:
    """Returns the training texts and the test texts."""
    everything = np.frombuffer(texts.indices, np.int32), np.frombuffer(texts.ends, np.int64)
    raw, classes = texts.stored_texts(), texts.targets.classes()
    training, test = (
        Examples(FlatSequences(*everything, rows), classes[rows], FlatTexts(*raw, rows), learned)
        for rows, learned in ((split.training, targets and targets.part(split.training)), (split.test, None))
    )
    return training, test


def _quality(
    texts: "_Texts",
    split: "_Split",
    unknown: tuple[float, float],
    bad: int,
    targets: Targets | None,
    *,
    rare_labels: tuple[str, ...],
    words_alone: bool,
    separate_test: bool,
) -> Quality:
    """Returns the findings about the files.

    Args:
        texts: the rows of the files.
        split: how the texts are split.
        unknown: the shares of unknown words in the validation and the test texts.
        bad: number of bad rows.
        targets: the targets of the texts, if the files have columns of soft labels or weights.
        rare_labels: the labels with too few different texts to hold some out.
        words_alone: whether the settings fix features of words alone.
        separate_test: whether the test texts come from files of their own.
    """
    hashes, classes, labelled = (
        np.frombuffer(texts.hashes, np.uint64),
        texts.targets.classes(),
        texts.targets.labelled(),
    )
    training, test, labels = split.training, split.test, texts.targets.sorted_labels()
    copies, _ = _copies_and_conflicts(hashes, classes)
    _, conflicts = _copies_and_conflicts(hashes[labelled], classes[labelled])
    unknown_in_validation, unknown_in_test = unknown
    return Quality(
        rows=texts.usable_rows + bad,
        bad=bad,
        without_words=texts.without_words,
        too_long=texts.too_long,
        copies=copies,
        labelled=int(labelled.sum()),
        conflicts=conflicts,
        test_texts=len(test),
        separate_test=separate_test,
        seen_in_training=int(np.isin(hashes[test], hashes[training]).sum()),
        merged=texts.merged,
        merged_at=texts.merged_at,
        unknown_in_validation=unknown_in_validation,
        unknown_in_test=unknown_in_test,
        label_lists=tuple(lists_among(labels)),
        soft=_soft_quality(texts, split) if targets else None,
        alike_labels=tuple(alike_among(labels)),
        weightless_labels={label: rows for label, rows in texts.weightless.items() if rows and label not in labels},
        rare_labels=rare_labels,
        untaught_labels=tuple(_untaught(labels, targets, training)),
        words_alone=words_alone,
    )


def _untaught(labels: Sequence[str], targets: Targets | None, training: NDArray[np.int64]) -> list[str]:
    """Returns the labels that no training text teaches. Only labels of soft-label columns can be such."""
    if targets is None:
        return []
    taught = targets.learned[training].sum(axis=0)
    return [label for label, weight in zip(labels, taught, strict=True) if not weight]


def _soft_quality(texts: "_Texts", split: "_Split") -> SoftQuality:
    training = split.training
    return SoftQuality(
        soft=int(texts.targets.soft()[training].sum()),
        unlabelled=int((~texts.targets.labelled())[training].sum()),
        left_out=len(texts) - len(training) - len(split.test),
        without_weight=texts.without_weight,
        weight=float(texts.targets.weights()[training].sum()),
    )


def test_rows(files: TrainingFiles, data: FileDataset) -> Iterator[LabelledText]:
    """Reads the test texts again, as text, so that versions with different vocabularies can be compared.

    Args:
        files: the files that `load` read.
        data: the data set that it returned.

    Raises:
        InputError: as `load` does.
    """
    known = frozenset(data.test_hashes.tolist())
    labels = frozenset(data.labels)
    source = files.test if isinstance(files.test, LabelledFiles) else files.data
    for _, row in source.rows(BadRows()):
        if row.weight and row.label in labels and text_hash(row.text) in known:
            yield row


class _Texts:
    """The rows that are kept. Memory holds each text's word numbers, targets and hash; a file holds the texts.

    Rows without a word are left out. But where a tenth of the rows to train on or more are symbols alone, such as
    emoticons, symbols are what the texts consist of: then such rows are kept for n-grams of characters.

    Args:
        columns: of soft labels and weights.
        characters: whether the model may have n-grams of characters.
    """

    def __init__(self, columns: SoftColumns, *, characters: bool) -> None:
        self.words: dict[str, int] = defaultdict(itertools.count(1).__next__)
        """The number of each word, from 1, in the order of occurrence. 0 stands for the start of a text."""
        self.targets = RowTargets(columns)
        self.indices = array("i")
        self.ends = array("q")
        with temporary_space():
            self._utf8 = TemporaryFile()  # noqa: SIM115, it stays open
        self._text_ends = array("q")
        self.hashes = array("Q")
        """The hash of each text. Two texts with the same hash count as copies."""
        self.usable_rows = self.without_words = self.too_long = self.merged = self.without_weight = 0
        self.weightless: Counter[str] = Counter()
        """The number of rows of weight 0, by label."""
        self.merged_at = ""
        self._keeps_symbols = characters
        self._symbols: list[LabelledText] = []
        """Rows of symbols alone of the files that are being read."""
        self._pending: list[LabelledText] = []
        """The rows that are not tokenized yet."""
        self._pending_characters = 0

    def __len__(self) -> int:
        return len(self.ends)

    def read(
        self, files: LabelledFiles, bad_rows: BadRows, console: Console, known_labels: Collection[str] | None = None
    ) -> None:
        """Adds the rows of files. If `known_labels` is given, a row with another label is a bad row."""
        spellings = set(map(without_spelling, known_labels or ()))
        with bytes_shown(console, f"Reading {files}", files.size()) as progress:
            for file, row in files.rows(bad_rows, progress):
                if known_labels is not None and row.label not in known_labels:
                    alike = without_spelling(row.label) in spellings
                    note = f", but one that differs only in {SPELLING}" if alike else ""
                    reason = f"no text to train on has the label {listed([row.label])}{note}"
                    bad_rows.add(file, Unreadable(row.number, reason))
                else:
                    self.usable_rows += 1
                    self._add(file, row)
        self._tokenize_pending()
        if known_labels is None:  # the rows to test on follow those to train on
            self._keeps_symbols &= len(self._symbols) >= _MANY_SYMBOLS * self.usable_rows
        if self._keeps_symbols:
            for row in self._symbols:
                self._keep(row, [])
        else:
            self.without_words += len(self._symbols)
        self._symbols.clear()

    def _add(self, file: LabelledFile, row: LabelledText) -> None:
        if row.looks_merged:
            self.merged += 1
            self.merged_at = self.merged_at or file.where(row.number)
        if not row.weight:
            self.without_weight += 1
            self.weightless[row.label] += bool(row.label)
            return
        if len(row.text.encode(errors="replace")) > MAX_TEXT_BYTES:
            self.too_long += 1
            return
        self._pending.append(row)
        self._pending_characters += len(row.text)
        if len(self._pending) == _BLOCK_TEXTS or self._pending_characters >= _BLOCK_CHARACTERS:
            self._tokenize_pending()

    def _tokenize_pending(self) -> None:
        for row, words in zip(self._pending, tokenize_all([row.text for row in self._pending]), strict=True):
            if words:
                self._keep(row, words)
            elif self._keeps_symbols and is_visible(row.text):
                self._symbols.append(row)
            else:
                self.without_words += 1
        self._pending.clear()
        self._pending_characters = 0

    def _keep(self, row: LabelledText, words: Sequence[str]) -> None:
        self.indices.append(0)
        self.indices.extend(map(self.words.__getitem__, words))
        self.ends.append(len(self.indices))
        with temporary_space():
            size = self._utf8.write(row.text.encode())
        self._text_ends.append((self._text_ends[-1] if self._text_ends else 0) + size)
        self.hashes.append(text_hash(row.text))
        self.targets.add(row)

    def stored_texts(self) -> tuple[mmap.mmap, NDArray[np.int64]]:
        """Returns all texts in UTF-8, one after another, and the offset at which each ends, (texts,). The texts are in
        a memory-mapped temporary file, which vanishes with the mapping.
        """
        with temporary_space():
            self._utf8.flush()
        return mmap.mmap(self._utf8.fileno(), 0, access=mmap.ACCESS_READ), np.frombuffer(self._text_ends, np.int64)


def _check(files: TrainingFiles, texts: _Texts, count: int) -> tuple[str, ...]:
    """Checks that the texts have two labels or more. The first `count` texts are to train on, the others to test on.
    Returns the labels with too few different texts to hold some out.
    """
    separate_test = isinstance(files.test, LabelledFiles)
    if not count:
        raise InputError(f"{files.data}: {_why_nothing_was_kept(texts)}")
    if separate_test and len(texts) == count:
        raise InputError(f"{files.test}: holds no text to test on: give a file with texts as --test-data")
    if not files.data.soft.probabilities:
        return _check_labels(files, texts, count)
    if not texts.targets.soft()[:count].any():
        raise InputError(f"{files.data}: no text has probabilities: check --probability-columns")
    return ()


def _why_nothing_was_kept(texts: _Texts) -> str:
    """Returns why the files to train on gave no text, and what to do."""
    if not texts.usable_rows:
        return "holds no row that can be used: give a file with texts and labels"
    if texts.without_weight == texts.usable_rows:
        return "the weight of every text is 0: check --weight-column"
    too_long = f" of at most {MAX_TEXT_BYTES:,} bytes" if texts.too_long else ""
    return f"holds no text{too_long} with a word in it: check --text-column"


def _check_labels(files: TrainingFiles, texts: _Texts, count: int) -> tuple[str, ...]:
    """Checks that two labels have enough different texts for each part of a split. Returns the others, which do not."""
    labels = texts.targets.sorted_labels()
    if len(labels) < 2:
        lost = [label for label, rows in texts.weightless.items() if rows and label not in labels]
        weightless = f"all rows of {listed(lost)} have the weight 0: check --weight-column"
        raise InputError(
            f"{files.data}: every text has the label {listed(labels[:1])}: two labels are needed:"
            f" {weightless if lost else 'check --label-column'}"
        )
    needed = 2 if isinstance(files.test, LabelledFiles) else 3
    hashes, classes = np.frombuffer(texts.hashes, np.uint64)[:count], texts.targets.classes()[:count]
    _, first, text = np.unique(hashes, return_index=True, return_inverse=True)
    own = np.bincount(classes[first], minlength=len(labels))
    rare = np.flatnonzero(own < needed)
    if len(rare) > len(labels) - 2:
        every = np.bincount(np.unique(np.stack([text, classes]), axis=1)[1], minlength=len(labels))
        few = [
            f"{listed([labels[at]])} has {own[at]}"
            + (f" (and {more:,} that occur earlier with another label)" if (more := every[at] - own[at]) else "")
            for at in rare
        ]
        others = f" and {counted(len(few) - 5, 'more label')}" if len(few) > 5 else ""
        raise InputError(
            f"{files.data}: two labels need {needed} different texts each, but {', '.join(few[:5])}{others}: add texts"
        )
    return tuple(labels[at] for at in rare)


class _Split(NamedTuple):
    """The texts of each side of the split."""

    training: NDArray[np.int64]
    """Positions of the training texts, shuffled, with those for validation first."""
    test: NDArray[np.int64]
    """Positions of the test texts."""
    validation_texts: int


def _split(files: TrainingFiles, settings: Settings, texts: _Texts, count: int) -> _Split:
    """Splits the texts. The first `count` are those of `files.data`; the others are those of test files.

    Without test files, the test texts are drawn from the texts with a label. Copies of them without a label are left
    out.
    """
    hashes, classes = np.frombuffer(texts.hashes, np.uint64), texts.targets.classes()
    is_test = np.arange(len(hashes)) >= count
    is_training = ~is_test
    # A rare label stays in the part to train on. Soft labels teach all labels by each text.
    keep = 0 if files.data.soft.probabilities else 1
    if not isinstance(files.test, LabelledFiles):
        drawn = np.flatnonzero(texts.targets.labelled())
        if not len(drawn):
            raise InputError(f"{files.data}: no text has a label to be tested by: give labelled texts as --test-data")
        is_test[drawn] = held_out(hashes[drawn], keys_for_test(hashes[drawn]), classes[drawn], files.test, 2 * keep)
        is_training = ~np.isin(hashes, hashes[is_test])
    training = np.flatnonzero(is_training)
    keys = keys_for_validation(hashes[training])
    is_validation = held_out(hashes[training], keys, classes[training], settings.validation_split, keep)
    if is_validation.all():
        raise InputError(f"{files.data}: too few texts are left to train on: add texts")
    random = np.random.default_rng(settings.seed)
    shuffled = [random.permutation(training[part]) for part in (is_validation, ~is_validation)]
    return _Split(np.concatenate(shuffled), np.flatnonzero(is_test), int(is_validation.sum()))


def _unknown_by_hashes(
    training: Examples, validation_texts: int, test: Examples, settings: Settings
) -> tuple[float, float]:
    """Returns the shares of unknown words in the validation and the test texts, for a model of hashed n-grams."""

    def ratio(texts: Sequence[str], learned: Sequence[str]) -> float:
        known = unknown_words.known_words(learned, settings.required_min_df, characters=settings.features != "words")
        return unknown_words.unknown_ratio(texts, known)

    validation, others = (part.texts or () for part in training.split(validation_texts))
    return ratio(validation, others), ratio(test.texts or (), training.texts or ())


def _unknown_ratio(training: Examples, validation_texts: int, words: int) -> float:
    """Returns the share of the validation texts' words that do not occur in the other training texts. The sequences
    must still hold word numbers.
    """
    validation, others = (_word_counts(part, words) for part in training.split(validation_texts))
    return float(validation[others == 0].sum() / max(validation.sum(), 1))


def _word_counts(examples: Examples, words: int) -> NDArray[np.int64]:
    """Returns the number of occurrences of each word, (words,), in sequences of word numbers."""
    counts = np.zeros(words + 1, np.int64)
    for at in range(0, len(examples), _BLOCK_TEXTS):
        counts += np.bincount(np.concatenate(examples.sequences[at : at + _BLOCK_TEXTS]), minlength=len(counts))
    return counts[1:]


def _index(indices: NDArray[np.int32], words: Mapping[str, int], training: Examples, num_words: int) -> Vocabulary:
    """Ranks the words by their frequency in the training texts, and replaces each word's number by its index, in place.
    Of equally frequent words, the one that occurs first comes first.
    """
    counts = _word_counts(training, len(words))
    entries = list(words)
    falling = (number for number in np.argsort(-counts, kind="stable") + 1 if counts[number - 1])
    kept = itertools.islice(
        (number for number in falling if is_word(entries[number - 1])), max(num_words - FIRST_WORD, 0)
    )
    index_of = np.full(len(counts) + 1, UNKNOWN, np.int32)
    index_of[0] = START
    ranks = {}
    for rank, number in enumerate(kept, 1):
        ranks[entries[number - 1]] = rank
        index_of[number] = rank + FIRST_WORD - 1
    for at in range(0, len(indices), _BLOCK_INDICES):
        indices[at : at + _BLOCK_INDICES] = index_of[indices[at : at + _BLOCK_INDICES]]
    return Vocabulary.from_ranks(ranks, FIRST_WORD + len(ranks), "unicode")


def _copies_and_conflicts(hashes: NDArray[np.uint64], classes: NDArray[np.int64]) -> tuple[int, int]:
    _, text = np.unique(hashes, return_inverse=True)
    pairs = np.unique(np.stack([text, classes]), axis=1)
    labels_of_text = np.bincount(pairs[0])
    return len(text) - len(labels_of_text), int((labels_of_text[text] > 1).sum())
