"""The repository: the only owner of models. It knows which versions exist, loads, verifies, publishes and retires them.

It looks at the folder of the models from time to time. A new version is loaded and verified beside the requests, takes
over when it is ready, and the one before retires when it has answered what it had. What serves stays in service until
something better is ready: a version that is refused, a folder that cannot be read or is suddenly empty, and a pin to a
version that is not there change nothing.
"""

import asyncio
import enum
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import structlog

from service.errors import InvalidArgument, NotFound, NotReady, RequestError, reason_for_clients, shortened
from service.inference.batching import Batcher
from service.inference.explanations import Explanations
from service.inference.version_policy import OnDisk, VersionPolicy, on_disk
from service.telemetry.metrics import ModelMetrics, VersionStates
from textmodel import Engine, ModelError, VersionFolder, load_engine
from textmodel.errors import ChangedError
from textmodel.loading import EngineKind
from textmodel.metadata import Metadata
from textmodel.version_folder import Fingerprint, fingerprint

_log = structlog.get_logger()
_T = TypeVar("_T")


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
    explanations: Explanations


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
    state: State = State.LOADING
    reason: str = ""
    servable: Servable | None = None
    files: Fingerprint | None = None
    """The files that were loaded or refused last."""


@dataclass
class _Model:
    versions: dict[int, Version] = field(default_factory=dict)
    in_service: Servable | None = None


class ModelRepository:
    """Loads the models of a folder and finds them for requests.

    Args:
        folder: `<name>/<version>/` in it.
        engine: which engine to load.
        policy: which versions to load.
        publish: makes the servable of a verified engine and the files that it was loaded from.
        states: where the metrics of versions go.
    """

    def __init__(
        self,
        folder: Path,
        engine: EngineKind,
        policy: VersionPolicy,
        publish: Callable[[VersionFolder, Fingerprint, str, int, Engine], Servable],
        states: VersionStates,
    ) -> None:
        self._folder = folder
        self._engine = engine
        self._policy = policy
        self._publish = publish
        self._states = states
        self._models: dict[str, _Model] = {}
        self._loaded = False
        self._refresh = asyncio.Event()
        self._complaints: dict[str, str] = {}
        self._subscribers: list[Callable[[], None]] = []
        # Not asyncio's own threads: the process's end does not wait for a load.
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="models")

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Has this called whenever other versions can answer, or another one is in service."""
        self._subscribers.append(changed)

    def _changed(self) -> None:
        for changed in self._subscribers:
            changed()

    async def load(self) -> None:
        """Loads the models for the first time.

        Raises:
            ModelError: no model can be served.
        """
        await self._scan()
        self._loaded = True
        self._end_other_series()
        for name in self._policy.pins.keys() - self._models.keys():
            _log.error("pinned model is not there", model=name)
        if not any(model.in_service for model in self._models.values()):
            raise ModelError(
                f"{self._folder}: no model to serve; train one with text-classifier-train, or name the folder of the"
                " models with --models"
            )

    async def watch(self, interval: float) -> None:
        """Follows the folder for ever: looks every so many seconds, with 0 only when it is told to by `refresh`."""
        while True:
            try:
                async with asyncio.timeout(interval or None):
                    await self._refresh.wait()
            except TimeoutError:
                pass
            else:
                self._refresh.clear()
                self._reset_failures()
            try:
                await self._scan()
            except Exception:  # the next look may do better, and what serves goes on
                _log.exception("looking at the models failed")

    def refresh(self) -> None:
        """Has the folder looked at now, and refused versions tried again although their files have not changed."""
        self._refresh.set()

    def _reset_failures(self) -> None:
        for version in self.list():
            if version.reason:
                version.files = None

    async def _scan(self) -> None:
        try:
            found = await self._run_in_thread(on_disk, self._folder)
        except OSError as error:
            self._complain("", "cannot read the folder of the models", folder=str(self._folder), reason=error.strerror)
            return
        if not found and self._models:
            # More likely a volume that has gone than a wish to have no model at all.
            self._complain("", "the folder of the models is empty", folder=str(self._folder))
            return
        self._complaints.pop("", None)
        for name in sorted(found.keys() | self._models.keys()):
            await self._update(name, found.get(name, OnDisk()))

    def _complain(self, subject: str, event: str, **details: object) -> None:
        """Logs an error, once until it changes."""
        if self._complaints.get(subject) != f"{event}{details}":
            self._complaints[subject] = f"{event}{details}"
            _log.error(event, **details)

    async def _update(self, name: str, found: OnDisk) -> None:
        """Brings one model to what is on the disk."""
        try:
            wanted, pinned = self._policy.order(name, found)
        except ModelError as error:
            self._complain(name, "cannot choose a version", model=name, reason=str(error))
            return
        self._complaints.pop(name, None)
        model = self._models.setdefault(name, _Model())
        considered: set[int] = set()
        available = 0
        for number in wanted:
            considered.add(number)
            version = await self._load_version(model, name, number)
            if version.servable:
                available += 1
                if available == 1:
                    self._put_in_service(model, version.servable, pinned=pinned is not None)
            if available == self._policy.keep or (pinned is not None and not available):
                break
        for version in list(model.versions.values()):
            # While no wanted version can serve, those that do stay.
            if version.version not in considered and (available or not found.versions or not version.servable):
                await self._retire(model, version)
        if not model.versions:
            del self._models[name]

    async def _load_version(self, model: _Model, name: str, number: int) -> Version:
        """Loads a version unless these very files have been loaded or refused already."""
        folder = VersionFolder(self._folder / name / str(number))
        version = model.versions.setdefault(number, Version(name, number))
        files = await self._run_in_thread(fingerprint, folder.path)
        if version.files == files:
            return version
        version.files = files
        if version.state is State.FAILED:
            version.state = State.LOADING
        log = _log.bind(model=name, version=number)
        try:
            engine = await self._run_in_thread(self._load, folder, files, log)
            servable = self._publish(folder, files, name, number, engine)
        except ModelError as error:
            self._refuse(version, reason_for_clients(error, folder.path), error.kind, log)
            return version
        except Exception:  # whatever is wrong with one version, the others go on
            log.exception("loading failed")
            self._refuse(version, "internal error; the server's log has the cause", "internal", log)
            return version
        replaced, version.servable = version.servable, servable
        version.state, version.reason = State.AVAILABLE, ""
        self._states.accepted(name, number)
        log.info("model loaded", engine=engine.name, classes=len(servable.labels))
        if replaced and model.in_service is replaced:
            model.in_service = servable
        self._changed()
        if replaced:
            await replaced.batcher.close()
        return version

    def _load(self, folder: VersionFolder, files: Fingerprint, log: Any) -> Engine:
        def fall_back(reason: ModelError) -> None:
            log.warning("compiled engine refused", reason=str(reason))

        try:
            engine = load_engine(folder.path, self._engine, fall_back)
            _ = folder.labels, folder.metadata  # read now, while the files are known to be these
        except ModelError as error:
            if fingerprint(folder.path) != files:
                raise ChangedError(f"its files changed while they were read: {error}") from error
            raise
        if fingerprint(folder.path) != files:
            raise ChangedError("its files changed while they were read")
        return engine

    def _refuse(self, version: Version, reason: str, kind: str, log: Any) -> None:
        version.reason = reason
        if not version.servable:  # else what has been loaded before goes on
            version.state = State.FAILED
        self._states.refused(version.name, version.version, kind)
        log.error("model refused", kind=kind, reason=reason)

    def _put_in_service(self, model: _Model, servable: Servable, *, pinned: bool) -> None:
        if model.in_service is not servable:
            model.in_service = servable
            self._states.in_service(servable.name, servable.version)
            self._changed()
            _log.info("model in service", model=servable.name, version=servable.version, pinned=pinned)

    async def _retire(self, model: _Model, version: Version) -> None:
        """Takes a version out of service, waits until it has answered what it has, and lets go of it."""
        servable, version.servable = version.servable, None
        if servable:
            if model.in_service is servable:
                model.in_service = None
                self._states.in_service(version.name, None)
            version.state = State.UNLOADING
            self._changed()
            await servable.batcher.close()
            _log.info("model unloaded", model=version.name, version=version.version)
        del model.versions[version.version]
        self._end_other_series()

    def _end_other_series(self) -> None:
        """Ends the metrics of versions that are not here any more."""
        self._states.keep([(version.name, version.version) for version in self.list()])

    async def _run_in_thread(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Does blocking work beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._aside, work, *arguments)

    def get(self, name: str, version: int) -> Servable:
        """Finds what answers a request: a version by its number, or with 0 the one in service.

        Raises:
            InvalidArgument: the name is empty or the version negative.
            NotFound: no such model or version.
            NotReady: it may come yet, it is being loaded.
        """
        model = self._models.get(name)
        if model and version == 0 and model.in_service:
            return model.in_service
        known = self.find(name, version)
        if not known.servable:
            if known.state is State.LOADING:
                raise NotReady
            available = [number for number, other in sorted(model.versions.items()) if other.servable] if model else []
            raise self._missing(_resource(name, version), f"available are versions {_listing(available)}")
        return known.servable

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
        self._aside.shutdown(wait=False, cancel_futures=True)
        for version in self.list():
            if version.servable:
                version.state = State.UNLOADING
                await version.servable.batcher.close()
        self._models.clear()


_MOST = 20
"""Names or versions that an error lists."""


def _resource(name: str, version: int = 0) -> str:
    return f"models/{shortened(name)}" + (f"/versions/{version}" if version else "")


def _listing(names: list[str] | list[int]) -> str:
    shown = ", ".join(str(name) for name in names[:_MOST])
    return (shown + ", …" if len(names) > _MOST else shown) or "none"
