"""Reads the texts that a server has captured for a version in service and its shadow.

`service/inference/capture.py` writes the files.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from textfiles import InputError, counted, listed
from training.data import text_hashes
from training.data.labelled_file import LabelledFile, LabelledText
from training.data.labels import label_of
from training.evaluation.live_comparison import LiveComparison


class Pair(NamedTuple):
    """A version in service and its shadow."""

    model: str
    version: int
    shadow_version: int

    def __str__(self) -> str:
        return f"{self.model}, version {self.version} in service and {self.shadow_version} as its shadow"


class _Line(msgspec.Struct, frozen=True):
    model: str
    version: int
    shadow_version: int

    @property
    def pair(self) -> Pair:
        return Pair(self.model, self.version, self.shadow_version)


class _Text(_Line, tag_field="kind", tag="text", frozen=True):
    agrees: bool
    label: str
    shadow_label: str
    text: str


class _Compared(_Line, tag_field="kind", tag="compared", frozen=True):
    texts: int
    disagreements: int
    dropped: int


class PairAnswers(NamedTuple):
    """The labels that the two versions give a text."""

    label: str
    shadow_label: str

    def gain(self, truth: str) -> Literal[-1, 0, 1]:
        """Returns 1 if the shadow gives the true label, -1 if the version in service gives it, 0 if neither does. The
        two labels must differ.
        """
        if self.shadow_label == truth:
            return 1
        return -1 if self.label == truth else 0


class Judgement(NamedTuple):
    """The comparison of two versions by true labels, and what looks wrong with the labels."""

    comparison: LiveComparison
    other_rows: int
    """Number of rows whose text was not captured as a disagreement."""
    learned: int
    """Number of disagreements that were left out because one of the versions has learned their texts."""
    new_labels: Counter[str]
    """The number of texts of each true label that neither version gave to any captured text."""

    def notes(self) -> list[str]:
        """Returns caveats to show with the verdict, one sentence each."""
        found = []
        if self.other_rows:
            found.append(f"Left out {counted(self.other_rows, 'row')} without the text of a captured disagreement.")
        if self.learned:
            found.append(
                f"Left out {counted(self.learned, 'disagreement')} on texts that one of the versions has learned. How"
                " many of the texts on which the versions agree were learned too is unknown: on new texts alone the"
                " difference is at least as far from 0."
            )
        if self.new_labels:
            texts = counted(self.new_labels.total(), "text")
            found.append(
                f"Neither version gave the labels {listed(self.new_labels)} of {texts}: both count as wrong. Check the"
                " spelling."
            )
        return found


@dataclass
class Captured:
    """The captured texts and counts of one pair of versions."""

    texts: int = 0
    """Number of texts that were compared."""
    disagreements: int = 0
    """Number of texts on which the versions disagree. The files may lack some of them."""
    dropped: int = 0
    """Number of texts that were not compared because the server was under load."""
    disagreeing: dict[str, PairAnswers] = field(default_factory=dict)
    """The labels that the versions give to each text on which they disagree, by the text's `_key`."""
    counts: Counter[str] = field(default_factory=Counter)
    """How often each of these texts was captured, by its `_key`."""
    labels: set[str] = field(default_factory=set)
    """All labels that the versions gave to captured texts."""

    def add(self, line: "_Text | _Compared") -> None:
        """Adds a line of a file."""
        if isinstance(line, _Compared):
            self.texts += line.texts
            self.disagreements += line.disagreements
            self.dropped += line.dropped
            return
        answers = PairAnswers(label_of(line.label), label_of(line.shadow_label))
        self.labels.update(answers)
        if not line.agrees:
            key = _key(line.text)
            self.disagreeing[key] = answers
            self.counts[key] += 1

    def judge(
        self, rows: Iterable[tuple[LabelledFile, LabelledText]], training_hashes: Sequence[NDArray[np.uint64]] = ()
    ) -> Judgement:
        """Compares the versions by true labels. Disagreements on texts that a version has learned are left out. Learned
        texts on which the versions agree still count: only the number of agreements is known.

        Args:
            rows: texts with their true labels. Texts that were not captured as disagreements are left out.
            training_hashes: for each version that records them, the sorted hashes of the texts that it has learned.

        Raises:
            InputError: no row has the text of a disagreement, two rows give one text different labels, or the capture
                is incomplete.
        """
        truth: dict[str, str] = {}
        other_rows = 0
        for file, row in rows:
            key = _key(row.text)
            if key not in self.disagreeing:
                other_rows += 1
            elif truth.setdefault(key, row.label) != row.label:
                raise InputError(
                    f"{file.where(row.number)}: the label {listed([row.label])} contradicts an earlier row with"
                    f" the same text, which has {listed([truth[key]])}: remove one of the two"
                )
        if not (self.disagreements or self.disagreeing):
            raise InputError(f"the versions agree on all {counted(self.texts, 'text')}: there is nothing to judge")
        if not truth:
            raise InputError("--labels: no row has the text of a captured disagreement: label texts of the capture")
        lost = self.disagreements - self.counts.total()
        if lost < 0:
            raise InputError(
                f"the capture holds {counted(self.counts.total(), 'disagreement')}, but its lines of the kind"
                f" 'compared' count {self.disagreements:,}: keep its files as the server wrote them"
            )
        learned = self._learned(training_hashes)
        new = {key: label for key, label in truth.items() if key not in learned}
        if not new:
            raise InputError(
                f"--labels: one of the versions has learned all {counted(len(truth), 'text')} with a label: label other"
                " texts of the capture"
            )
        left_out = sum(self.counts[key] for key in learned)
        # The disagreements that the files lack are assumed to include the same share of learned texts.
        left_out_of_lost = round(lost * left_out / self.counts.total())
        comparison = LiveComparison(
            self.texts - left_out - left_out_of_lost,
            self.disagreements - left_out - left_out_of_lost,
            len(self.counts) - len(learned) + lost - left_out_of_lost,
            np.array([self.disagreeing[key].gain(label) for key, label in new.items()]),
            np.array([self.counts[key] for key in new]),
        )
        new_labels = Counter(label for label in new.values() if label not in self.labels)
        return Judgement(comparison, other_rows, left_out + left_out_of_lost, new_labels)

    def _learned(self, training_hashes: Sequence[NDArray[np.uint64]]) -> set[str]:
        """Returns the keys of the disagreements on texts that a version has learned."""
        keys = list(self.disagreeing)
        hashes = np.array([text_hashes.text_hash(key) for key in keys], np.uint64)
        learned = np.zeros(len(keys), np.bool_)
        for known in training_hashes:
            learned |= text_hashes.contained(hashes, known)
        return {keys[at] for at in np.flatnonzero(learned)}


def _key(text: str) -> str:
    """Returns a key that a text keeps when spreadsheets or annotation tools change its white space or Unicode form."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def read_captured(folder: Path) -> Mapping[Pair, Captured]:
    """Reads all files of a capture folder.

    Raises:
        InputError: the folder has no captured files, or a line is malformed.
        OSError: a file cannot be read.
    """
    found: dict[Pair, Captured] = defaultdict(Captured)
    files = sorted(folder.glob("captured-*.jsonl"))
    if not files:
        raise InputError(f"{folder}: holds no file captured-*.jsonl: name the folder of the server's --capture")
    for path in files:
        for line in _lines(path):
            found[line.pair].add(line)
    return found


def _lines(path: Path) -> Iterator[_Text | _Compared]:
    decoder = msgspec.json.Decoder(_Text | _Compared)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return  # the server is writing it
            try:
                yield decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise InputError(f"{path}, line {number}: {error}: it is no line of a capture") from error
