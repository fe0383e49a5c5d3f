"""The repository: the only owner of models. It knows which versions exist, loads, verifies and publishes them."""

import asyncio
import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from service.batching import Batcher
from service.errors import InvalidArgument, NotFound, NotReady, RequestError
from service.metrics import ModelMetrics
from textmodel import Engine, ModelError, VersionFolder, load_engine
from textmodel.loading import EngineKind
from textmodel.metadata import Metadata
from textmodel.version_folder import is_model_name, versions

_log = structlog.get_logger()


@dataclass(frozen=True)
class Servable:
    """A version that answers requests."""

    name: str
    version: int
    labels: tuple[str, ...]
    metadata: Metadata
    engine: Engine
    batcher: Batcher
    metrics: ModelMetrics


class State(enum.Enum):
    """Where a version stands in its life, as the contract's `Model.State`."""

    LOADING = enum.auto()
    AVAILABLE = enum.auto()
    FAILED = enum.auto()
    UNLOADING = enum.auto()


@dataclass
class Version:
    """What the repository knows of a version folder. `servable` is there when `state` is AVAILABLE."""

    name: str
    version: int
    state: State
    reason: str = ""
    servable: Servable | None = None


@dataclass
class _Model:
    versions: dict[int, Version] = field(default_factory=dict)
    in_service: Servable | None = None


class ModelRepository:
    """Loads the models of a folder and finds them for requests.

    Args:
        folder: `<name>/<version>/` in it.
        engine: which engine to load.
        publish: makes the servable of a verified engine.
    """

    def __init__(
        self, folder: Path, engine: EngineKind, publish: Callable[[VersionFolder, str, int, Engine], Servable]
    ) -> None:
        self._folder = folder
        self._engine = engine
        self._publish = publish
        self._models: dict[str, _Model] = {}
        self._loaded = False

    async def load(self) -> None:
        """Loads the highest version of each model; when it is refused, the one below, and so on.

        Raises:
            ModelError: no model can be served.
        """
        for name in self._names():
            model = self._models[name] = _Model()
            for number in reversed(versions(self._folder / name)):
                await self._load(model, Version(name, number, State.LOADING))
                if model.in_service:
                    break
        self._loaded = True
        if not any(model.in_service for model in self._models.values()):
            raise ModelError(
                f"{self._folder}: no model to serve; train one with text-classifier-train, or name the folder of the"
                " models with --models"
            )

    def _names(self) -> list[str]:
        if not self._folder.is_dir():
            return []
        return sorted(entry.name for entry in self._folder.iterdir() if is_model_name(entry.name) and versions(entry))

    async def _load(self, model: _Model, version: Version) -> None:
        model.versions[version.version] = version
        folder = VersionFolder(self._folder / version.name / str(version.version))
        log = _log.bind(model=version.name, version=version.version)
        try:
            engine = await asyncio.to_thread(
                load_engine,
                folder.path,
                self._engine,
                lambda reason: log.warning("compiled engine refused", reason=str(reason)),
            )
            version.servable = self._publish(folder, version.name, version.version, engine)
        except ModelError as error:
            version.state, version.reason = State.FAILED, str(error)
            log.error("model refused", reason=version.reason)
            return
        version.state = State.AVAILABLE
        model.in_service = version.servable
        log.info("model loaded", engine=engine.name, classes=len(version.servable.labels))

    def get(self, name: str, version: int) -> Servable:
        """Finds what answers a request: a version by its number, or with 0 the one in service.

        Raises:
            InvalidArgument: the name is empty or the version negative.
            NotFound: no such model or version.
            NotReady: it may come yet, the models are being loaded.
        """
        model = self._models.get(name)
        if model and version == 0 and model.in_service:
            return model.in_service
        servable = self.find(name, version).servable
        if not servable:
            available = [number for number, known in sorted(model.versions.items()) if known.servable] if model else []
            raise self._missing(_resource(name, version), f"available are versions {_listing(available)}")
        return servable

    def _missing(self, resource: str, description: str) -> RequestError:
        return NotFound(resource, description) if self._loaded else NotReady()

    def find(self, name: str, version: int) -> Version:
        """Finds a version in whatever state; with 0 the one in service or else the highest.

        Raises:
            InvalidArgument: the name is empty or the version negative.
            NotFound: no such model or version.
            NotReady: it may come yet, the models are being loaded.
        """
        if not name:
            raise InvalidArgument("model", f"is empty; available are {_listing(sorted(self._models))}")
        if version < 0:
            raise InvalidArgument("version", f"{version} is negative; 0 is the version in service")
        model = self._models.get(name)
        if not model:
            raise self._missing(_resource(name), f"available are {_listing(sorted(self._models))}")
        if not version:
            version = model.in_service.version if model.in_service else max(model.versions)
        if version not in model.versions:
            raise self._missing(_resource(name, version), f"available are versions {_listing(sorted(model.versions))}")
        return model.versions[version]

    def list(self) -> list[Version]:
        """Returns all versions, by name and number."""
        return [known for _, model in sorted(self._models.items()) for _, known in sorted(model.versions.items())]

    def in_service(self, version: Version) -> bool:
        """Tells whether requests without a version come to this one."""
        servable = self._models[version.name].in_service
        return servable is not None and servable is version.servable

    async def close(self) -> None:
        """Answers what waits, and lets go of all models."""
        for version in self.list():
            if version.servable:
                version.state = State.UNLOADING
                await version.servable.batcher.close()
        self._models.clear()


# A name from a request comes back in an error; a status message has to fit into HTTP/2 headers of 8 KiB.
_LONGEST = 64
_MOST = 20


def _resource(name: str, version: int = 0) -> str:
    shown = name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…"
    return f"models/{shown}" + (f"/versions/{version}" if version else "")


def _listing(names: list[str] | list[int]) -> str:
    shown = ", ".join(str(name) for name in names[:_MOST])
    return (shown + ", …" if len(names) > _MOST else shown) or "none"
