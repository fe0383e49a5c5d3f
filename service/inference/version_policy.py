"""Which versions of a model to load, and which of them answers: the newest, or the one that an operator has pinned.

A pin is a number in the file `<models>/<name>/pin`, which can be written and removed while the server runs, or else
comes from the option `--pin`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from textmodel import ModelError
from textmodel.version_folder import is_model_name, pinned_version, versions


@dataclass(frozen=True)
class OnDisk:
    """What a model's folder holds."""

    versions: tuple[int, ...] = ()
    """Rising."""
    pin: int | None = None
    """What the file says, if there is one."""
    problem: str = ""
    """Why the folder or its pin cannot be read."""


def on_disk(folder: Path) -> dict[str, OnDisk]:
    """Looks for models: folders that hold a version.

    Raises:
        OSError: the folder itself cannot be read.
    """
    names = sorted(entry.name for entry in folder.iterdir() if is_model_name(entry.name))
    return {name: found for name in names if (found := _model_on_disk(folder / name)) != OnDisk()}


def _model_on_disk(model: Path) -> OnDisk:
    try:
        numbers = tuple(versions(model))
        return OnDisk(numbers, pinned_version(model) if numbers else None)
    except ModelError as error:
        return OnDisk(problem=str(error))
    except OSError as error:
        return OnDisk(problem=f"{model}: {error.strerror}")


@dataclass(frozen=True)
class VersionPolicy:
    """The operator's choice.

    Args:
        keep: how many versions of a model to load.
        pins: the version that answers, by the model's name, unless its folder has a pin of its own.
    """

    keep: int
    pins: Mapping[str, int]

    def order(self, name: str, found: OnDisk) -> tuple[list[int], int | None]:
        """Returns a model's versions in the order in which they are wanted, and its pin.

        A pinned version comes first although it may not be there: no other may then take its place.

        Raises:
            ModelError: the folder or its pin cannot be read.
        """
        if found.problem:
            raise ModelError(found.problem)
        newest_first = list(reversed(found.versions))
        if not newest_first:
            return [], None
        pin = self.pins.get(name) if found.pin is None else found.pin
        if pin is None:
            return newest_first, None
        return [pin, *(number for number in newest_first if number != pin)], pin
