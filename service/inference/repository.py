"""The model repository: the versions that requests can use, and the state of all others.

Requests read it. Only the reconciler changes it, on the same event loop.
"""

import asyncio
import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from service.errors import InvalidArgument, NotFound, NotReady, RequestError, shortened
from service.inference.servable import Servable
from service.inference.shadow import Shadow
from textmodel.version_folder import Fingerprint

_MAX_LISTED = 20
"""Maximum number of names or versions that an error lists."""


class State(enum.Enum):
    """The state of a version, as the contract's `Model.State`."""

    LOADING = enum.auto()
    AVAILABLE = enum.auto()
    FAILED = enum.auto()
    UNLOADING = enum.auto()


@dataclass
class ModelVersion:
    """The state of a version folder. `servable` is set while `state` is AVAILABLE.

    Version 0 stands for the model itself. It exists, and is FAILED, while the model's folder, pin or shadow file cannot
    be read.
    """

    name: str
    version: int
    state: State = State.LOADING
    reason: str = ""
    """The reason why the latest files were refused; empty if they were not."""
    servable: Servable | None = None
    files: Fingerprint | None = None
    """The files that were loaded or refused last."""
    attempts: int = 0
    """How often in a row the same files could not be read, for a reason that may pass without a change of them."""
    pause: int = 0
    """Number of scans until these files are tried again."""


@dataclass
class Model:
    """The versions of a model, and the one that answers requests without a version."""

    versions: dict[int, ModelVersion] = field(default_factory=dict)
    in_service: Servable | None = None
    shadow: Shadow | None = None
    """Compares a shadow version with the version in service."""
    on_disk: Mapping[int, Path] = field(default_factory=dict)
    """The folders of the model's versions, loaded or not."""


class ModelRepository:
    """Finds models for requests.

    `models` contains them by name. `serves` is set once the models folder was scanned and a model is in service. Until
    then, a model that is not found may still be loaded.
    """

    def __init__(self) -> None:
        self.models: dict[str, Model] = {}
        self.serves = asyncio.Event()
        self._subscribers: list[Callable[[], None]] = []

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Calls `changed` whenever the versions that can answer, or the version in service, have changed."""
        self._subscribers.append(changed)

    def changed(self) -> None:
        """Tells the subscribers."""
        for changed in self._subscribers:
            changed()

    def get(self, name: str, version: int, field: str = "model") -> Servable:
        """Finds the servable for a request: that of a version, or, for version 0, the one in service.

        Args:
            name: the model's name.
            version: the version.
            field: the field of the request that holds the name, for errors.

        Raises:
            InvalidArgument: the name is empty or the version negative.
            NotFound: there is no such model or version.
            NotReady: the version is being loaded, or no model is in service yet.
        """
        model = self.models.get(name)
        if model and version == 0 and model.in_service:
            return model.in_service
        known = self.find(name, version, field)
        if not known.servable:
            if known.state is State.LOADING:
                raise NotReady(f"{_resource(name, version)} is being loaded; try again later")
            refused = "" if known.state is not State.FAILED else "it was refused, the list of models says why; "
            raise self._missing(_resource(name, version), refused + _available(self.models[name]))
        return known.servable

    def find(self, name: str, version: int, field: str = "model") -> ModelVersion:
        """Finds a version in any state. For version 0, it finds the version in service, or, if there is none, the
        highest. The arguments are those of `get`.

        Raises:
            InvalidArgument: the name is empty or the version negative.
            NotFound: there is no such model or version.
            NotReady: no model is in service yet.
        """
        if not name:
            raise InvalidArgument(field, f"is empty; available are {listing(self.models)}")
        if version < 0:
            raise InvalidArgument("version", f"{version} is negative; 0 is the version in service")
        model = self.models.get(name)
        if not model:
            raise self._missing(_resource(name), f"available are {listing(self.models)}")
        if not version:
            # A model has no versions while its last one is unloaded.
            version = model.in_service.version if model.in_service else max(model.versions, default=0)
        if version not in model.versions:
            raise self._missing(_resource(name, version), _why_not_loaded(model, version) + _available(model))
        return model.versions[version]

    def _missing(self, resource: str, description: str) -> RequestError:
        return NotFound(resource, description) if self.serves.is_set() else NotReady()

    def list(self) -> list[ModelVersion]:
        """Returns all versions, by name and number."""
        return [known for _, model in sorted(self.models.items()) for _, known in sorted(model.versions.items())]

    def shadow(self, version: ModelVersion) -> Shadow | None:
        """Returns the comparison of this version with the one in service; None if this version is not a shadow."""
        shadow = self.models[version.name].shadow
        return shadow if shadow and shadow.candidate is version.servable else None

    def in_service(self, version: ModelVersion) -> bool:
        """Tells whether requests without a version use this one."""
        servable = self.models[version.name].in_service
        return servable is not None and servable is version.servable


def _resource(name: str, version: int = 0) -> str:
    return f"models/{shortened(name)}" + (f"/versions/{version}" if version else "")


def _why_not_loaded(model: Model, version: int) -> str:
    if version not in model.on_disk:
        return ""
    return "it is in the models folder, but not loaded: the server loads it with --keep-versions or a pin; "


def _available(model: Model) -> str:
    available = [number for number, version in model.versions.items() if version.servable]
    if not available:
        return "no version is available"
    return f"available: version{'s' if len(available) > 1 else ''} {listing(available)}"


def listing(names: Iterable[str] | Iterable[int]) -> str:
    """Returns names or versions, sorted and separated by commas, at most `_MAX_LISTED` of them."""
    every = sorted(names)
    shown = ", ".join(map(str, every[:_MAX_LISTED]))
    return (shown + ", …" if len(every) > _MAX_LISTED else shown) or "none"
