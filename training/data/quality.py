"""The findings about the user's own files."""

from collections.abc import Mapping
from dataclasses import dataclass

from textfiles import counted, listed
from training.data import unknown_words
from training.data.labels import SPELLING
from training.data.soft_labels import NEGLIGIBLE

MAX_TEXT_BYTES = 1 << 20
"""Maximum length of a text in UTF-8. It is the server's default limit."""

_HIGH_SHARE = 0.01
"""From this share of the texts, a run warns of test texts that are training texts too, and of contradictory labels."""


@dataclass(frozen=True)
class SoftQuality:
    """The findings about soft labels and weights."""

    soft: int
    """Number of training texts with a soft label."""
    unlabelled: int
    """Number of these texts that have no label."""
    left_out: int
    """Number of unlabelled copies of test texts, which are left out."""
    without_weight: int
    """Number of rows of weight 0, which are left out."""
    weight: float
    """The sum of the weights of the training texts."""

    def described(self) -> list[tuple[str, str]]:
        """Returns the name and the value of each finding, to show to people."""
        return [
            ("training texts with a soft label", f"{self.soft:,}"),
            ("of them without a label", f"{self.unlabelled:,}"),
            ("unlabelled copies of test texts, left out", f"{self.left_out:,}"),
            ("rows of weight 0, left out", f"{self.without_weight:,}"),
            ("sum of the weights of the training texts", f"{self.weight:,.6g}"),
        ]


@dataclass(frozen=True)
class Quality:
    """The findings about the files, mostly numbers of rows."""

    rows: int
    """Number of all rows, including bad rows."""
    bad: int
    """Number of rows that cannot be used and are listed in the file of bad rows."""
    without_words: int
    """Left out: see `file_dataset`."""
    too_long: int
    """Number of rows whose text is longer than `MAX_TEXT_BYTES`, which are left out."""
    copies: int
    """Number of rows with the text of an earlier row. They are kept, on the same side of each split as that row."""
    labelled: int
    """Number of the kept rows that have a label."""
    conflicts: int
    """Number of labelled rows whose text has another label in another row. They are kept."""
    test_texts: int
    separate_test: bool
    """Whether the test texts come from files of their own."""
    seen_in_training: int
    """Number of test texts that are training texts too. They are kept. Only separate test files can have them."""
    merged: int
    """Number of rows that look like several rows merged by an unclosed quotation mark."""
    merged_at: str
    """The file and the line of the first such row."""
    unknown_in_validation: float
    """Share of unknown words in the validation texts, for a model trained on the other training texts."""
    unknown_in_test: float
    """Share of unknown words in the test texts."""
    label_lists: tuple[str, ...]
    """Labels that look like lists of labels."""
    soft: SoftQuality | None
    """Findings about soft labels and weights, if the files have such columns."""
    alike_labels: tuple[str, ...]
    """Labels that differ from another label only in `SPELLING`."""
    weightless_labels: Mapping[str, int]
    """The number of rows of each label of which all rows have the weight 0."""
    rare_labels: tuple[str, ...]
    """Labels with too few different texts to hold out some for validation and test."""
    untaught_labels: tuple[str, ...]
    """Labels of soft-label columns that no training text has, neither as its label nor with a probability."""
    words_alone: bool
    """Whether the settings fix features of words alone."""

    def described(self) -> list[tuple[str, str]]:
        """Returns the name and the value of each finding, for people."""
        return [
            ("rows read", f"{self.rows:,}"),
            ("bad rows, set aside", f"{self.bad:,}"),
            ("without a word, left out", f"{self.without_words:,}"),
            (f"longer than {MAX_TEXT_BYTES:,} bytes, left out", f"{self.too_long:,}"),
            ("rows that look like several merged ones", f"{self.merged:,}"),
            ("copies of an earlier text", f"{self.copies:,}"),
            ("texts that come with several labels", f"{self.conflicts:,}"),
            ("test texts that are training texts too", f"{self.seen_in_training:,}"),
            ("unknown words in validation texts", f"{self.unknown_in_validation:.2%}"),
            ("unknown words in test texts", f"{self.unknown_in_test:.2%}"),
            *(self.soft.described() if self.soft else ()),
        ]

    def warnings(self) -> list[str]:
        """Returns warnings for the user, one line each."""
        found = []
        if self.merged:
            found.append(
                f"{counted(self.merged, 'row')} with many lines that look like rows, the first at {self.merged_at}: if"
                " a quotation mark is not closed there, it merged rows; --quoting none reads quotation marks as text"
            )
        if self.label_lists:
            found.append(
                f"labels that look like lists of labels: {listed(self.label_lists)}: each list is a label of its own;"
                " texts with several labels are not supported"
            )
        if self.alike_labels:
            found.append(
                f"labels that differ only in {SPELLING}: {listed(self.alike_labels)}: each is a class of its own; if"
                " they mean the same, spell them alike"
            )
        if self.weightless_labels:
            texts = counted(sum(self.weightless_labels.values()), "text")
            found.append(
                f"labels of which every text has the weight 0: {listed(self.weightless_labels)}: the model does not"
                f" know them, and is not tested on them: {texts} left out"
            )
        if self.rare_labels:
            found.append(
                f"labels with too few different texts to hold some out: {listed(self.rare_labels)}: the model learns"
                " them, but validation or test lack them; add texts, or leave the labels out"
            )
        if self.untaught_labels:
            found.append(
                f"labels that no text to train on teaches: {listed(self.untaught_labels)}: no label, and no probability"
                f" of {NEGLIGIBLE:g} or more: the model never answers them; leave them out of --probability-columns, or"
                " add texts"
            )
        if self.seen_in_training > _HIGH_SHARE * self.test_texts:
            found.append(
                f"{self.seen_in_training:,} of {counted(self.test_texts, 'test text')}"
                f" ({self.seen_in_training / self.test_texts:.1%}) are training texts too: they make the test metrics"
                " look better than they are on new texts; leave these texts out of one of the two"
            )
        if self.conflicts > _HIGH_SHARE * self.labelled:
            rows = counted(self.labelled, "row")
            found.append(
                f"{self.conflicts:,} of {rows} with a label ({self.conflicts / self.labelled:.1%}) have a text that,"
                " apart from case and punctuation, comes with several labels: unless punctuation tells them apart, no"
                " model can be right on all of them; text-classifier-train check lists rows to look at"
            )
        if self.unknown_in_validation >= unknown_words.HIGH_RATIO:
            found.append(
                f"{self.unknown_in_validation:.0%} of the words of the validation texts are unknown:"
                f" {unknown_words.meaning(words_alone=self.words_alone)}"
            )
        if self.separate_test and unknown_words.drifted(self.unknown_in_test, self.unknown_in_validation):
            found.append(
                f"{self.unknown_in_test:.0%} of the words of the test texts are unknown, but"
                f" {self.unknown_in_validation:.0%} of those of the validation texts: the test texts differ from the"
                " texts to train on; add texts like them to --data"
            )
        return found
