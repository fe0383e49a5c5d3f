"""The user's own data: files of labelled texts become a data set, in one pass over each file.

In memory are word indices, never the texts. A word gets a number when it first comes; when all rows are read, the words
of the training texts are ranked by frequency, as Keras ranks them, and the numbers become indices.
"""

import hashlib
import itertools
import sys
from array import array
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from textfiles import InputError
from textfiles.progress import bytes_shown
from textmodel.tokenization import is_word, tokenize
from textmodel.vocabulary import FIRST_WORD, START, UNKNOWN, Vocabulary
from training.data.keras_datasets import DataSet, Examples
from training.data.labelled_file import LabelledFile, OwnFiles, Row
from training.data.sequences import FlatSequences
from training.data.splitting import draw
from training.settings import Settings

LONGEST_TEXT = 1 << 20
"""Bytes of UTF-8: what a server takes by default. What it cannot be asked, a model need not learn."""

# Worked on at a time.
_BLOCK_INDICES = 1 << 22
_BLOCK_TEXTS = 1 << 11


@dataclass(frozen=True)
class Quality:
    """What was found in the files, in numbers of rows."""

    rows: int
    without_words: int
    """Left out."""
    too_long: int
    """Longer than `LONGEST_TEXT`: left out."""
    copies: int
    """Their words are those of a row before, in the same order. They stay, on one side of each split."""
    conflicts: int
    """Their text comes with another label too. They stay."""
    seen_in_training: int
    """Test texts whose words are those of a training text, which only a file of test texts can have. They stay."""

    def described(self) -> list[tuple[str, str]]:
        """Returns the numbers with what they say, for people."""
        return [
            ("rows read", f"{self.rows:,}"),
            ("without a word, left out", f"{self.without_words:,}"),
            (f"longer than {LONGEST_TEXT:,} bytes, left out", f"{self.too_long:,}"),
            ("copies of an earlier text", f"{self.copies:,}"),
            ("texts that come with several labels", f"{self.conflicts:,}"),
            ("test texts that are training texts too", f"{self.seen_in_training:,}"),
        ]


@dataclass(frozen=True)
class OwnDataSet(DataSet):
    """A data set whose training texts are shuffled, those for validation first."""

    validation_texts: int
    quality: Quality
    test_hashes: NDArray[np.uint64]
    """(test texts,), what `test_rows` knows them by."""


def load(files: OwnFiles, settings: Settings, console: Console) -> OwnDataSet:
    """Reads the files and splits their texts.

    Args:
        files: what is read.
        settings: of them `num_words`, the most indices that there may be, `validation_split` and `seed`.
        console: where progress is shown.

    Raises:
        InputError: a file or a row cannot be used, or there are too few texts to split.
    """
    texts = _Texts()
    texts.read(files.data, console)
    count = len(texts)
    if isinstance(files.test, LabelledFile):
        texts.read(files.test, console, known_labels=frozenset(texts.labels))
        if len(texts) == count:
            raise InputError(f"{files.test.path}: holds no text to test on")
    labels, classes = texts.classes_by_label()
    hashes = np.frombuffer(texts.hashes, np.uint64)
    parts = 2 if isinstance(files.test, LabelledFile) else 3
    _check(files.data, labels, hashes[:count], classes[:count], needed=parts)

    random = np.random.default_rng(settings.seed)
    if isinstance(files.test, LabelledFile):
        is_test = np.arange(len(texts)) >= count
    else:
        is_test = draw(hashes, classes, files.test, 2, random)
    training, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    is_validation = draw(hashes[training], classes[training], settings.validation_split, 1, random)
    training = np.concatenate([random.permutation(training[part]) for part in (is_validation, ~is_validation)])

    everything = np.frombuffer(texts.indices, np.int32), np.frombuffer(texts.ends, np.int64)
    training_examples = Examples(FlatSequences(*everything, training), classes[training])
    vocabulary = _index(everything[0], texts.words, training_examples, settings.num_words)
    if len(vocabulary) == FIRST_WORD:
        raise InputError(f"{files.data.path}: holds no word that a vocabulary can hold")
    return OwnDataSet(
        name=files.data.path.name,
        labels=labels,
        vocabulary=vocabulary,
        training=training_examples,
        test=Examples(FlatSequences(*everything, test), classes[test]),
        validation_texts=int(is_validation.sum()),
        quality=Quality(
            texts.rows,
            texts.without_words,
            texts.too_long,
            *_copies_and_conflicts(hashes, classes),
            seen_in_training=int(np.isin(hashes[test], hashes[training]).sum()),
        ),
        test_hashes=hashes[test],
    )


def test_rows(files: OwnFiles, data: OwnDataSet) -> Iterator[Row]:
    """Reads the test texts again, as text, so that versions with different vocabularies can be compared.

    Args:
        files: as they were loaded.
        data: what was loaded from them.

    Raises:
        InputError: as `load` does.
    """
    known = frozenset(data.test_hashes.tolist())
    file = files.test if isinstance(files.test, LabelledFile) else files.data
    return (row for row in file.rows() if int.from_bytes(_hash(tokenize(row.text)), sys.byteorder) in known)


def _hash(words: Iterable[str]) -> bytes:
    """Returns 64 bits that are equal for texts that no model can tell apart."""
    return hashlib.blake2b(" ".join(words).encode(), digest_size=8).digest()


class _Texts:
    """What is kept of the rows: for each text that is not left out its words, its label and its hash, as numbers."""

    def __init__(self) -> None:
        self.words: dict[str, int] = defaultdict(itertools.count(1).__next__)
        """From 1, as they come: 0 stands for the start of a text."""
        self.labels: dict[str, int] = defaultdict(itertools.count().__next__)
        self.indices = array("i")
        self.ends = array("q")
        self.hashes = array("Q")
        """Of 64 bits. Two texts that share one by chance would be taken for copies: that does no harm."""
        self.rows = self.without_words = self.too_long = 0
        self._classes = array("q")

    def __len__(self) -> int:
        return len(self.ends)

    def read(self, file: LabelledFile, console: Console, known_labels: Container[str] | None = None) -> None:
        with bytes_shown(console, f"Reading {file.path}", file.size()) as progress:
            self._read(file.rows(progress), file, known_labels)

    def _read(self, rows: Iterable[Row], file: LabelledFile, known_labels: Container[str] | None) -> None:
        number_of_word = self.words.__getitem__
        for text, label, number in rows:
            self.rows += 1
            if known_labels is not None and label not in known_labels:
                raise InputError(f"{file.where(number)}: no text to train on has the label {label!r}")
            if len(text.encode()) > LONGEST_TEXT:
                self.too_long += 1
            elif not (words := tokenize(text)):
                self.without_words += 1
            else:
                self.indices.append(0)
                self.indices.extend(map(number_of_word, words))
                self.ends.append(len(self.indices))
                self.hashes.frombytes(_hash(words))
                self._classes.append(self.labels[label])

    def classes_by_label(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """Returns the labels, sorted, and the class of each text, its label's position among them."""
        labels = sorted(self.labels)
        position = np.empty(len(labels), np.int64)
        position[[self.labels[label] for label in labels]] = np.arange(len(labels))
        return tuple(labels), position[np.frombuffer(self._classes, np.int64)]


def _check(
    file: LabelledFile, labels: Sequence[str], hashes: NDArray[np.uint64], classes: NDArray[np.int64], needed: int
) -> None:
    """Checks that there are classes, and that each has as many different texts as it has parts."""
    if len(labels) < 2:
        found = f"every text has the label {labels[0]!r}" if labels else "holds no text with a word in it"
        raise InputError(f"{file.path}: {found}: two labels are needed")
    _, first = np.unique(hashes, return_index=True)
    counts = np.bincount(classes[first], minlength=len(labels))
    few = [f"{label!r} has {count}" for label, count in zip(labels, counts, strict=True) if count < needed]
    if few:
        others = f", and {len(few) - 5} labels more" if len(few) > 5 else ""
        raise InputError(
            f"{file.path}: each label needs {needed} different texts, but {', '.join(few[:5])}{others}: add texts or"
            " leave out the label"
        )


def _index(indices: NDArray[np.int32], words: Mapping[str, int], training: Examples, num_words: int) -> Vocabulary:
    """Ranks the words by how often the training texts hold them, the first to come before its equals, and makes of each
    word's number, in place, its index.
    """
    counts = np.zeros(len(words) + 1, np.int64)
    for at in range(0, len(training), _BLOCK_TEXTS):
        counts += np.bincount(np.concatenate(training.sequences[at : at + _BLOCK_TEXTS]), minlength=len(counts))
    entries = list(words)
    falling = (number for number in np.argsort(-counts[1:], kind="stable") + 1 if counts[number])
    kept = itertools.islice(
        (number for number in falling if is_word(entries[number - 1])), max(num_words - FIRST_WORD, 0)
    )
    index_of = np.full(len(counts), UNKNOWN, np.int32)
    index_of[0] = START
    ranks = {}
    for rank, number in enumerate(kept, 1):
        ranks[entries[number - 1]] = rank
        index_of[number] = rank + FIRST_WORD - 1
    for at in range(0, len(indices), _BLOCK_INDICES):
        indices[at : at + _BLOCK_INDICES] = index_of[indices[at : at + _BLOCK_INDICES]]
    return Vocabulary.from_ranks(ranks, FIRST_WORD + len(ranks))


def _copies_and_conflicts(hashes: NDArray[np.uint64], classes: NDArray[np.int64]) -> tuple[int, int]:
    _, text = np.unique(hashes, return_inverse=True)
    pairs = np.unique(np.stack([text, classes]), axis=1)
    labels_of_text = np.bincount(pairs[0])
    return len(text) - len(labels_of_text), int((labels_of_text[text] > 1).sum())
