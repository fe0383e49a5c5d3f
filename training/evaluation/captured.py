"""Reads what a server has captured of a version in service and its shadow: see `service/inference/capture.py`."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from textfiles import InputError, Unreadable
from training.data.labelled_file import LabelledFile
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


class Answers(NamedTuple):
    """The labels that the two versions give a text."""

    label: str
    shadow_label: str


@dataclass
class Captured:
    """What was captured of one pair of versions."""

    texts: int = 0
    """Number of texts that were compared."""
    disagreements: int = 0
    """On how many of them the versions disagree. Some of these may have been lost on their way to the files."""
    dropped: int = 0
    """Number of texts that were not compared because the server was under load."""
    disagreeing: dict[str, Answers] = field(default_factory=dict)
    """What the versions say of each text on which they disagree."""
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """How often each of them came."""

    def judge(self, labels: LabelledFile) -> LiveComparison:
        """Compares the versions by true labels.

        Args:
            labels: texts with their true labels; those that were not captured as disagreements are left out.

        Raises:
            InputError: a row cannot be read, none has such a text, or two give one text different labels.
        """
        truth: dict[str, str] = {}
        for row in labels.rows():
            if isinstance(row, Unreadable):
                raise InputError(f"{labels.where(row.number)}: {row.reason}")
            if row.text in self.disagreeing and truth.setdefault(row.text, row.label) != row.label:
                raise InputError(
                    f"{labels.where(row.number)}: the label {row.label!r} contradicts an earlier row with the same"
                    f" text, which has {truth[row.text]!r}: remove one of the two"
                )
        if not truth:
            raise InputError(f"{labels}: no row has the text of a captured disagreement: label texts of the capture")
        gains = [_gain(self.disagreeing[text], label) for text, label in truth.items()]
        counts = [self.counts[text] for text in truth]
        lost = self.disagreements - sum(self.counts.values())
        different = len(self.counts) + max(lost, 0)
        return LiveComparison(self.texts, self.disagreements, different, np.array(gains), np.array(counts))


def _gain(answers: Answers, label: str) -> Literal[-1, 0, 1]:
    if answers.shadow_label == label:
        return 1
    return -1 if answers.label == label else 0


def read_captured(folder: Path) -> Mapping[Pair, Captured]:
    """Reads all files of a capture folder.

    Raises:
        InputError: the folder holds none, or a line is malformed.
        OSError: a file cannot be read.
    """
    found: dict[Pair, Captured] = defaultdict(Captured)
    files = sorted(folder.glob("captured-*.jsonl"))
    if not files:
        raise InputError(f"{folder}: holds no file captured-*.jsonl: name the folder of the server's --capture")
    for path in files:
        for line in _lines(path):
            captured = found[line.pair]
            if isinstance(line, _Compared):
                captured.texts += line.texts
                captured.disagreements += line.disagreements
                captured.dropped += line.dropped
            elif not line.agrees:
                captured.disagreeing[line.text] = Answers(line.label, line.shadow_label)
                captured.counts[line.text] += 1
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
