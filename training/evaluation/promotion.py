"""Decides by the test set whether a new version replaces the version in service."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from textfiles import listed
from textmodel.version_folder import PIN_FILE, NewVersion, VersionFolder, served_version, version_path
from training.data.labelled_file import LabelledText
from training.evaluation.comparison import Comparison
from training.evaluation.version_evaluation import LoadedVersion, VersionComparison, compare
from training.settings import PromotionMetric


@dataclass(frozen=True)
class Gate:
    """The conditions on which a new version replaces the one in service."""

    metric: PromotionMetric = "accuracy"
    """The metric in which the new version has to be better."""
    allow_removed_labels: bool = False
    """Whether the new version may lack a label of the one in service."""
    allow_removed_thresholds: bool = False
    """Whether the new version may lack thresholds that the one in service has."""

    def refusal(self, incumbent: VersionFolder, new: VersionFolder) -> str | None:
        """Returns why the new version may not take over, however accurate it is. None: it may.

        Raises:
            ModelError: the labels or the metadata of one of the two cannot be read.
        """
        removed = [label for label in incumbent.labels if label not in new.labels]
        if removed and not self.allow_removed_labels:
            return (
                f"{new.path} lacks labels of {incumbent.path}: {listed(removed)}; --allow-removed-labels promotes such"
                " a version too"
            )
        return self.refusal_without_thresholds(incumbent) if new.metadata.abstention is None else None

    def refusal_without_thresholds(self, incumbent: VersionFolder) -> str | None:
        """Returns why a version without thresholds may not take over. None: it may."""
        lost = None if self.allow_removed_thresholds else lost_thresholds(incumbent)
        return f"{lost}; --allow-removed-thresholds promotes such a version too" if lost else None


@dataclass(frozen=True)
class Decision:
    """Whether a new version takes over, and why."""

    gate: Gate
    incumbent: LoadedVersion | None = None
    """The version in service, if there is one."""
    result: VersionComparison | None = None
    """The comparison of the version in service, A, with the new one, B."""
    labels: tuple[str, ...] = ()
    """The labels of the new version."""

    @property
    def comparison(self) -> Comparison | None:
        """The comparison that decides. None: there is no incumbent, or no text to compare the two on."""
        if self.result is None:
            return None
        return self.result.macro_f1 if self.gate.metric == "macro-f1" else self.result.accuracy

    @property
    def removed_labels(self) -> list[str]:
        """The labels of the incumbent that the new version lacks."""
        return [] if self.incumbent is None else [each for each in self.incumbent.labels if each not in self.labels]

    @property
    def added_labels(self) -> list[str]:
        """The labels of the new version that the incumbent lacks."""
        return [] if self.incumbent is None else [each for each in self.labels if each not in self.incumbent.labels]

    @property
    def promoted(self) -> bool:
        """Whether the new version goes into service: it is the first, or it is better and has the required labels."""
        if self.incumbent is None:
            return True
        if self.removed_labels and not self.gate.allow_removed_labels:
            return False
        return self.comparison is not None and self.comparison.verdict == "better"

    def sentence(self, written: Path) -> str:
        """Returns the decision in sentences.

        Args:
            written: the folder of the new version.
        """
        if self.incumbent is None:
            return f"Promoted: {written} is the first version."
        incumbent = str(self.incumbent.folder.path)
        of_comparison = self.result.notes(incumbent, "The new version") if self.result else ()
        notes = "".join(f" {note}" for note in (*self._label_notes(), *of_comparison))
        if not self.promoted:
            numbered = written.with_name(written.name.removeprefix("candidate-"))
            return (
                f"Not promoted: {incumbent} stays in service, since {self._reason(incumbent)}.{notes} The new version"
                f" is kept in {written}, which no server loads. To serve it all the same: mv {written} {numbered}"
            )
        pin = written.parent / PIN_FILE
        but = f" But {pin} names the version that is served: write {written.name} into it." if pin.exists() else ""
        evidence = self.comparison.sentence(incumbent, str(written)) if self.comparison else ""
        return f"Promoted: {evidence}.{notes}{but}"

    def _reason(self, incumbent: str) -> str:
        if self.removed_labels and not self.gate.allow_removed_labels:
            return (
                f"the new version lacks labels of it (--allow-removed-labels promotes such a version too){self._also()}"
            )
        if self.comparison is None:
            return "one of the two versions has learned every test text"
        return self.comparison.sentence(incumbent, "the new version")

    def _also(self) -> str:
        return f"; {self.comparison.sentence('it', 'the new version')}" if self.comparison else ""

    def _label_notes(self) -> list[str]:
        changes = (("Removed", self.removed_labels), ("Added", self.added_labels))
        return [f"{change} labels: {listed(labels)}." for change, labels in changes if labels]


def lost_thresholds(incumbent: VersionFolder) -> str | None:
    """Returns what is lost if a version without thresholds takes over, and what to do. None: nothing is lost.

    Raises:
        ModelError: the incumbent's metadata cannot be read.
    """
    abstention = incumbent.metadata.abstention
    if abstention is None:
        return None
    return (
        f"{incumbent.path} is in service and has thresholds, but the new version has none: requests with"
        f" use_thresholds would fail: train it with --target-precision {abstention.target_precision:g}"
    )


def in_service(model: Path) -> LoadedVersion | None:
    """Loads the version in service; None if there is none.

    Raises:
        ModelError: the version cannot be loaded.
    """
    number = served_version(model)
    return None if number is None else LoadedVersion(version_path(model, number))


def decide(incumbent: LoadedVersion | None, new: NewVersion, rows: Iterable[LabelledText], gate: Gate) -> Decision:
    """Compares the version in service with a new one on the rows of the test set."""
    if incumbent is None:
        return Decision(gate)
    version = LoadedVersion(new.path)
    return Decision(gate, incumbent, compare(incumbent, version, rows), version.labels)
