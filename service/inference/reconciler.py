"""The reconciler: updates the model repository from the models folder.

It scans the folder periodically. It loads and verifies a new version while others answer. When the new version is
ready, it takes over, and the previous one retires after its last request. A version stays in service until its
successor is ready: a refused version, an unreadable or suddenly empty folder, and a pin to a missing version change
nothing.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import structlog

from service.errors import reason_for_clients, shortened
from service.inference.problem_log import ProblemLog
from service.inference.repository import Model, ModelRepository, ModelVersion, State, listing
from service.inference.servable import Servable
from service.inference.shadow import Shadow
from service.inference.version_loading import load_version, may_pass
from service.inference.version_policy import OnDisk, VersionPolicy, on_disk
from service.telemetry.metrics import VersionStates
from textmodel import Engine, ModelError, VersionFolder
from textmodel.errors import MissingError
from textmodel.names import EngineKind
from textmodel.version_folder import Fingerprint, fingerprint

_log = structlog.get_logger()
_MAX_REASONS = 5
"""Maximum number of names in a model's folder that a warning explains."""
_MAX_PAUSE = 64
"""Maximum number of scans between two attempts to read the same files."""
_T = TypeVar("_T")

Publish = Callable[[VersionFolder, Fingerprint, str, int, Engine], Servable]
"""Makes the servable of a verified engine, given the files that it was loaded from."""
StartShadow = Callable[[Servable, Servable], Shadow]
"""Starts to compare the version in service, the first argument, with a shadow version."""


class Reconciler:
    """Loads and retires the versions of a repository.

    Args:
        repository: the repository to keep up to date.
        folder: the models folder, with `<name>/<version>/` in it.
        engine: the engine to load.
        policy: chooses the versions to load.
        publish: makes the servable of a verified engine.
        states: the metrics of versions.
        while_loading: makes a context that is entered during each load.
        start_shadow: starts a shadow version. None: a shadow version is loaded but not compared.
    """

    def __init__(
        self,
        repository: ModelRepository,
        folder: Path,
        *,
        engine: EngineKind,
        policy: VersionPolicy,
        publish: Publish,
        states: VersionStates,
        while_loading: Callable[[], AbstractContextManager[object]] = nullcontext,
        start_shadow: StartShadow | None = None,
    ) -> None:
        self._repository = repository
        self._models = repository.models
        self._folder = folder
        self._engine = engine
        self._policy = policy
        self._publish = publish
        self._start_shadow = start_shadow
        self._states = states
        self._while_loading = while_loading
        self._refresh = asyncio.Event()
        self._problems = ProblemLog()
        # Not asyncio's own threads: the end of the process does not wait for a load.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="models")

    async def load(self, *, required: bool = False) -> None:
        """Loads the models for the first time.

        Args:
            required: whether a model must be in service afterwards. Otherwise, one may come later.

        Raises:
            ModelError: no model can be served, and one is required.
        """
        await self._scan()
        self._end_other_series()
        for option, named in (("--pin", self._policy.pins), ("--shadow", self._policy.shadows)):
            for name in sorted(named.keys() - self._models.keys()):
                reason = (
                    f"{option} names a model that {self._folder} does not have: its models are {listing(self._models)}"
                )
                _log.error("model not found", model=name, reason=reason)
        if not self._repository.serves.is_set():
            if required:
                raise ModelError(f"no model to serve: {self._why_none()}")
            _log.warning("waiting for a model", folder=str(self._folder), reason=self._why_none())

    def _why_none(self) -> str:
        refused = [
            f"{known.name}/{known.version}: {known.reason}"
            for known in self._repository.list()
            if known.reason and known.version
        ]
        return "; ".join([*self._problems.reasons, *refused]) or (
            f"{self._folder} holds no folder NAME/VERSION; train a model with text-classifier-train, or set --models"
        )

    async def watch(self, interval: float) -> None:
        """Watches the folder forever.

        Args:
            interval: seconds between two scans; 0: scan only after `refresh`.
        """
        while True:
            try:
                async with asyncio.timeout(interval or None):
                    await self._refresh.wait()
            except TimeoutError:
                pass
            else:
                self._refresh.clear()
                self._reset_failures()
            await self._scan()

    def refresh(self) -> None:
        """Requests an immediate scan. It tries refused versions again, even if their files have not changed."""
        self._refresh.set()

    def _reset_failures(self) -> None:
        for version in self._repository.list():
            if version.reason:
                version.files = None

    async def _scan(self) -> None:
        try:
            found, misnamed = await self._run_in_thread(on_disk, self._folder)
        except OSError as error:
            reason = f"{self._folder}: {error.strerror}"
            self._problems.report("", "cannot read the models folder", reason=reason)
            return
        self._report_misnamed(misnamed)
        if not found and self._models:
            # It is more likely that a volume is missing than that no model should be served.
            self._problems.report("", "the models folder is empty", folder=str(self._folder))
            return
        self._problems.solved("")
        for name in sorted(found.keys() | self._models.keys()):
            try:
                await self._update(name, found.get(name, OnDisk()))
            except Exception as error:  # an error of one model must not affect the others
                self._problems.report(name, "cannot update the model", model=name, reason=repr(error), cause=error)
        if any(model.in_service for model in self._models.values()):
            self._repository.serves.set()

    async def _update(self, name: str, found: OnDisk) -> None:
        """Updates one model from its folder."""
        self._report_ignored(name, found)
        try:
            wanted, pinned = self._policy.order(name, found)
        except ModelError as error:
            self._problems.report(name, "cannot choose a version", model=name, reason=str(error))
            await self._refuse_choice(name, found, error)
            return
        self._problems.solved(name)
        self._report_no_shadow(name, found)
        if not wanted and name not in self._models:
            return
        model = self._models.setdefault(name, Model())
        model.on_disk = found.folders
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
        candidate = None
        if (shadow := self._policy.shadow(name, found)) is not None:
            considered.add(shadow)
            candidate = (await self._load_version(model, name, shadow)).servable
        for version in list(model.versions.values()):
            # While no wanted version can serve, the versions that serve stay.
            if version.version not in considered and (available or not found.folders or not version.servable):
                await self._retire(model, version)
        await self._compare(model, candidate)
        if not model.versions:
            del self._models[name]

    def _report_misnamed(self, names: list[str]) -> None:
        if names:
            hint = "use letters, digits, '.', '-' and '_', a letter or digit first"
            self._problems.report(".", "not a model name: ignored", level="warning", names=names, hint=hint)
        else:
            self._problems.solved(".")

    def _report_ignored(self, name: str, found: OnDisk) -> None:
        subject = f"{name}/"
        if found.ignored:
            names = list(found.ignored)
            reasons = "; ".join(f"{path}: {why}" for path, why in islice(found.ignored.items(), _MAX_REASONS))
            self._problems.report(
                subject, "not a version: ignored", level="warning", model=name, names=names, reason=reasons
            )
        else:
            self._problems.solved(subject)

    def _report_no_shadow(self, name: str, found: OnDisk) -> None:
        subject = f"{name}/shadow"
        if reason := self._policy.why_no_shadow(name, found):
            self._problems.report(subject, "no shadow", level="warning", model=name, reason=reason)
        else:
            self._problems.solved(subject)

    async def _load_version(self, model: Model, name: str, number: int) -> ModelVersion:
        """Loads a version, unless the same files were loaded or refused before."""
        version = model.versions.setdefault(number, ModelVersion(name, number))
        path = model.on_disk.get(number)
        if not path:
            self._refuse_missing(version, model)
            return version
        files = await self._run_in_thread(fingerprint, path)
        if version.files != files:
            version.attempts = version.pause = 0
        elif not _is_due(version):
            return version
        version.files = files
        if version.state is State.FAILED:
            version.state = State.LOADING
        log = _log.bind(model=name, version=number)
        folder = VersionFolder(path)
        try:
            with self._while_loading():
                engine = await self._run_in_thread(load_version, folder, files, self._engine, log)
            servable = self._publish(folder, files, name, number, engine)
        except ModelError as error:
            reason = reason_for_clients(error, path)
            told = version.attempts > 0 and version.reason == reason
            version.attempts = version.attempts + 1 if may_pass(error) else 0
            version.pause = min(2 ** (version.attempts - 1), _MAX_PAUSE) if version.attempts else 0
            self._refuse(version, reason, error.kind, None if told else log)
            return version
        except Exception:  # an error of one version must not affect the others
            log.exception("loading failed")
            self._refuse(version, "internal error; the server's log has the cause", "internal", log)
            return version
        replaced, version.servable = version.servable, servable
        version.state, version.reason = State.AVAILABLE, ""
        version.attempts = version.pause = 0
        self._states.accepted(name, number)
        if replaced and model.in_service is replaced:
            model.in_service = servable
            _warn_of_labels(replaced, servable)
        self._repository.changed()
        log.info("model loaded", engine=engine.name, classes=len(servable.labels))
        if replaced:
            await replaced.batcher.close()
        return version

    def _refuse(self, version: ModelVersion, reason: str, kind: str, log: Any | None) -> None:
        version.reason = reason
        if not version.servable:  # otherwise the files that were loaded before go on serving
            version.state = State.FAILED
        self._states.refused(version.name, version.version, kind)
        if log:
            log.error("model refused", kind=kind, reason=reason)

    async def _refuse_choice(self, name: str, found: OnDisk, error: ModelError) -> None:
        """Lists the model as version 0, with the reason why no version can be chosen. The version in service stays."""
        model = self._models.setdefault(name, Model())
        if found.folders:
            model.on_disk = found.folders
        for version in list(model.versions.values()):
            if version.version and not version.servable and version.version not in model.on_disk:
                await self._retire(model, version)  # an earlier pin named it
        whole = model.versions.setdefault(0, ModelVersion(name, 0, State.FAILED))
        reason = reason_for_clients(error, self._folder / name, "the model's folder")
        if whole.reason != reason:
            whole.reason = reason
            self._states.refused(name, 0, ModelError.kind)

    def _refuse_missing(self, version: ModelVersion, model: Model) -> None:
        """Refuses a version without a folder, which a pin or a shadow file names. Logs it once."""
        named = f"{version.name} has no version {version.version}, which its pin or shadow names"
        reason = f"{named}: its versions are {listing(model.on_disk)}"
        if version.reason != reason:
            version.files = None
            self._refuse(version, reason, MissingError.kind, _log.bind(model=version.name, version=version.version))

    def _put_in_service(self, model: Model, servable: Servable, *, pinned: bool) -> None:
        if model.in_service is not servable:
            before, model.in_service = model.in_service, servable
            self._states.in_service(servable.name, servable.version)
            self._repository.changed()
            _log.info("model in service", model=servable.name, version=servable.version, pinned=pinned)
            if before:
                _warn_of_labels(before, servable)
            if model.shadow and model.shadow.candidate is servable and not pinned:
                reason = (
                    "the shadow version is now in service, because it is the highest: a pin keeps it out of service"
                )
                _log.warning("shadow in service", model=servable.name, version=servable.version, reason=reason)

    async def _compare(self, model: Model, candidate: Servable | None) -> None:
        """Has the version in service compared with a shadow candidate. None: ends the comparison."""
        if model.shadow and (model.in_service, candidate) != (model.shadow.in_service, model.shadow.candidate):
            shadow, model.shadow = model.shadow, None
            shadow.in_service.shadow.running = None
            self._repository.changed()
            await shadow.close()
            _log.info("shadow ended", model=shadow.candidate.name, version=shadow.candidate.version)
        # The shadow itself may still be in service while no other version can take its place.
        if (
            self._start_shadow
            and model.in_service
            and candidate
            and model.in_service is not candidate
            and not model.shadow
        ):
            model.shadow = model.in_service.shadow.running = self._start_shadow(model.in_service, candidate)
            self._repository.changed()
            _log.info(
                "shadow started", model=candidate.name, version=candidate.version, beside=model.in_service.version
            )

    async def _retire(self, model: Model, version: ModelVersion) -> None:
        """Takes a version out of service, waits for its last answers, and unloads it."""
        servable, version.servable = version.servable, None
        if servable:
            if model.in_service is servable:
                model.in_service = None
                self._states.in_service(version.name, None)
            version.state = State.UNLOADING
            self._repository.changed()
            await servable.batcher.close()
            _log.info("model unloaded", model=version.name, version=version.version)
        del model.versions[version.version]
        self._end_other_series()

    def _end_other_series(self) -> None:
        """Ends the metrics of versions that no longer exist."""
        self._states.keep([(version.name, version.version) for version in self._repository.list()])

    async def _run_in_thread(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Does blocking work outside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def close(self) -> None:
        """Answers the waiting requests, and unloads all models."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        for version in self._repository.list():
            if version.servable:
                version.state = State.UNLOADING
                await version.servable.batcher.close()
        for model in self._models.values():
            await self._compare(model, None)
        self._models.clear()
        self._repository.changed()


def _is_due(version: ModelVersion) -> bool:
    """Counts a scan. Returns whether files that could not be read are to be tried again."""
    version.pause = max(version.pause - 1, 0)
    return version.attempts > 0 and version.pause == 0


def _warn_of_labels(before: Servable, after: Servable) -> None:
    """Warns that the new version in service has other labels, which clients may not expect."""
    removed, added = set(before.labels) - set(after.labels), set(after.labels) - set(before.labels)
    if removed or added:
        _log.warning(
            "labels changed",
            model=after.name,
            version=after.version,
            previous=before.version,
            removed=listing(map(shortened, removed)),
            added=listing(map(shortened, added)),
        )
