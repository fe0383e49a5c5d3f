"""Chooses which versions of a model to load, and which one answers: the newest, or the one that an operator has pinned.

A pin is a number in the file `<models>/<name>/pin`, which can be written and removed while the server runs. Without
that file, the option `--pin` can pin a version.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from textmodel import ModelError
from textmodel.names import is_model_name
from textmodel.version_folder import pinned_version, scan_model, shadow_version


@dataclass(frozen=True)
class OnDisk:
    """The contents of a model's folder."""

    folders: Mapping[int, Path] = field(default_factory=dict)
    """The version folders by version, in ascending order."""
    pin: int | None = None
    """The pin file's version, if there is a pin file."""
    shadow: int | None = None
    """The shadow file's version, if there is a shadow file."""
    ignored: Mapping[str, str] = field(default_factory=dict)
    """The names that look like versions but are not, each with the reason."""
    problem: str = ""
    """Why the folder, its pin or its shadow file cannot be read."""


def on_disk(folder: Path) -> tuple[dict[str, OnDisk], list[str]]:
    """Finds the models in a folder: its folders that contain a version or cannot be read, by name. Also returns the
    folders of versions whose name cannot name a model, except hidden ones.

    Raises:
        OSError: the folder itself cannot be read.
    """
    models, misnamed = {}, []
    for name in sorted(entry.name for entry in folder.iterdir()):
        if is_model_name(name):
            models[name] = _model_on_disk(folder / name)
        elif not name.startswith(".") and _model_on_disk(folder / name).folders:
            misnamed.append(name)
    return {name: found for name, found in models.items() if found != OnDisk()}, misnamed


def _model_on_disk(model: Path) -> OnDisk:
    try:
        folders, ignored = scan_model(model)
    except OSError as error:
        return OnDisk(problem=_reason(error))
    if not folders:
        return OnDisk(ignored=ignored)
    try:
        return OnDisk(folders, pinned_version(model), shadow_version(model), ignored)
    except (ModelError, OSError) as error:
        return OnDisk(folders, ignored=ignored, problem=_reason(error))


def _reason(error: ModelError | OSError) -> str:
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)


@dataclass(frozen=True)
class VersionPolicy:
    """The operator's choice.

    Args:
        keep: number of versions of a model to load.
        pins: the version that answers, by model name. A model's pin file takes precedence.
        shadows: the version that is only compared with the one that answers, by model name. A model's shadow file takes
            precedence.
    """

    keep: int
    pins: Mapping[str, int]
    shadows: Mapping[str, int] = field(default_factory=dict)

    def order(self, name: str, found: OnDisk) -> tuple[list[int], int | None]:
        """Returns a model's versions in the order of preference, and its pin.

        A pinned version comes first even if it does not exist, since no other version may take its place. A shadow
        version is left out. But the only version of a model answers even if it is named as the shadow.

        Raises:
            ModelError: the folder or its pin cannot be read.
        """
        if found.problem:
            raise ModelError(found.problem)
        if not found.folders:
            return [], None
        pin = self._pin(name, found)
        shadow = self.shadow(name, found)
        newest_first = sorted((number for number in found.folders if number != shadow), reverse=True)
        if pin is None:
            return newest_first, None
        return [pin, *(number for number in newest_first if number != pin)], pin

    def shadow(self, name: str, found: OnDisk) -> int | None:
        """Returns the shadow version; None if there is none."""
        if not found.folders or self.why_no_shadow(name, found):
            return None
        return self._named_shadow(name, found)

    def why_no_shadow(self, name: str, found: OnDisk) -> str:
        """Returns why the version that is named as the shadow answers requests instead; empty if it does not."""
        shadow, pin = self._named_shadow(name, found), self._pin(name, found)
        if shadow is None or not found.folders:
            return ""
        if shadow == pin:
            return f"version {shadow} is the shadow and pinned: the pin counts; remove one of the two"
        if pin is None and found.folders.keys() == {shadow}:
            return f"version {shadow} is the shadow, but the only version: it is served until there is another"
        return ""

    def _named_shadow(self, name: str, found: OnDisk) -> int | None:
        return self.shadows.get(name) if found.shadow is None else found.shadow

    def _pin(self, name: str, found: OnDisk) -> int | None:
        return self.pins.get(name) if found.pin is None else found.pin
