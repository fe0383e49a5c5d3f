"""Whether a new version takes the place of the one in service. The evidence is the test set."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from textmodel.version_folder import PIN_FILE, NewVersion, served_version, version_path
from training.data.labelled_file import Row
from training.evaluation.comparison import Comparison
from training.evaluation.version_evaluation import Version, compare


@dataclass(frozen=True)
class Decision:
    """What was decided, and why."""

    incumbent: Path | None
    """The version in service, if there is one."""
    comparison: Comparison | None
    """Of the version in service, A, with the new one, B."""

    @property
    def promoted(self) -> bool:
        """Whether the new version is to be served: it is the first, or better."""
        return self.comparison is None or self.comparison.verdict == "better"

    def sentence(self, written: Path) -> str:
        """Says it to a person.

        Args:
            written: where the new version is.
        """
        if self.comparison is None or self.incumbent is None:
            return f"Promoted: {written} is the first version."
        if not self.promoted:
            return (
                f"Not promoted: {self.incumbent} stays in service, since"
                f" {self.comparison.sentence(str(self.incumbent), 'the new version')}. The new version is kept in"
                f" {written}, which no server loads: to serve it all the same, name the folder by the next number."
            )
        pin = written.parent / PIN_FILE
        but = f" But {pin} names the version that is served: write {written.name} into it." if pin.exists() else ""
        return f"Promoted: {self.comparison.sentence(str(self.incumbent), str(written))}.{but}"


def in_service(model: Path) -> Version | None:
    """Loads the version that a server answers with.

    Raises:
        ModelError: it cannot be loaded.
    """
    number = served_version(model)
    return None if number is None else Version(version_path(model, number))


def decide(incumbent: Version | None, new: NewVersion, rows: Iterable[Row]) -> Decision:
    """Compares the version in service with a new one on the rows of the test set."""
    if incumbent is None:
        return Decision(None, None)
    return Decision(incumbent.folder.path, compare(incumbent, Version(new.path), rows))
