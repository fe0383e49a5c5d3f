"""What the reconciler makes of the models folder. A version's only file says how its load ends: no engine is loaded."""

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.inference import reconciler as reconciler_module
from service.inference.reconciler import Reconciler
from service.inference.repository import ModelRepository, State
from service.inference.servable import Servable
from service.inference.version_policy import VersionPolicy
from service.telemetry import metrics
from service.telemetry.metrics import VersionStates
from service.telemetry.shared_metrics import PAGE_BYTES, Family, MetricsPage
from textmodel import ModelError, VersionFolder


def load(folder: VersionFolder, *_: Any) -> Any:
    content = (folder.path / "file").read_text()
    if content == "odd":
        raise ModelError(f"{folder.path}/file: is odd")
    if content == "fault":
        raise KeyError(content)
    return SimpleNamespace(name=content)


class Batcher:
    """Notes when it is closed."""

    def __init__(self, closed: list[str], name: str) -> None:
        self._closed, self._name = closed, name

    async def close(self) -> None:
        self._closed.append(self._name)


class Reconciled:
    """A reconciler of a models folder, and what it has done."""

    def __init__(self, folder: Path, policy: VersionPolicy, shadows: list[Any] | None = None) -> None:
        self.folder = folder
        self.page = MetricsPage(bytearray(PAGE_BYTES), owner=0)
        self.repository = ModelRepository()
        self.closed: list[str] = []
        self.reconciler = Reconciler(
            self.repository,
            folder,
            engine="auto",
            policy=policy,
            publish=self._publish,
            states=VersionStates(self.page),
            start_shadow=None if shadows is None else lambda a, b: self._start(shadows, a, b),
        )

    def _publish(self, folder: VersionFolder, files: Any, name: str, version: int, engine: Any) -> Servable:
        batcher: Any = Batcher(self.closed, f"{name}/{version}")
        unused: Any = None
        labels = {"other labels": ("x", "z"), "long labels": ("x", "z" * 1000)}.get(engine.name, ("x", "y"))
        return Servable(name, version, labels, unused, engine, batcher, unused, unused)

    def _start(self, shadows: list[Any], in_service: Servable, candidate: Servable) -> Any:
        async def close() -> None:
            self.closed.append(f"shadow {candidate.version}")

        shadows.append((in_service.version, candidate.version))
        return SimpleNamespace(in_service=in_service, candidate=candidate, close=close)

    def write(self, version: str, content: str = "ok") -> None:
        path = self.folder / version
        path.mkdir(parents=True, exist_ok=True)
        (path / "file").write_text(content)

    async def scan(self) -> None:
        await self.reconciler._scan()

    def states(self) -> dict[str, State]:
        return {f"{known.name}/{known.version}": known.state for known in self.repository.list()}

    @property
    def served(self) -> int:
        return self.repository.get("m", 0).version

    def shown(self, family: Family) -> set[tuple[str, ...]]:
        series = (series for series, values in self.page.read() if values.any())
        return {each.labels for each in series if each.live and each.family == family.name}


Test = Callable[[Reconciled], Coroutine[Any, Any, None]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    monkeypatch.setattr(reconciler_module, "load_version", load)

    def run_test(test: Test, policy: VersionPolicy | None = None, shadows: list[Any] | None = None) -> None:
        async def all_of_it() -> None:
            (tmp_path / "models").mkdir()
            reconciled = Reconciled(tmp_path / "models", policy or VersionPolicy(1, {}), shadows)
            await test(reconciled)
            await reconciled.reconciler.close()

        asyncio.run(all_of_it())

    return run_test


def test_the_newest_version_takes_over_and_the_one_before_retires(run: Callable[..., None]) -> None:
    async def test(reconciled: Reconciled) -> None:
        changes: list[int] = []
        reconciled.repository.subscribe(lambda: changes.append(1))
        reconciled.write("m/1")
        await reconciled.reconciler.load(required=True)
        assert (reconciled.served, reconciled.shown(metrics.IN_SERVICE)) == (1, {("m", "1")})
        assert reconciled.repository.serves.is_set()
        heard = len(changes)
        assert heard > 0
        await reconciled.scan()
        assert len(changes) == heard  # nothing is new
        reconciled.write("m/2")
        await reconciled.scan()
        assert (reconciled.served, reconciled.shown(metrics.IN_SERVICE)) == (2, {("m", "2")})
        assert (reconciled.states(), reconciled.closed) == ({"m/2": State.AVAILABLE}, ["m/1"])
        assert len(changes) > heard

    run(test)


def test_as_many_versions_are_kept_as_the_policy_says(run: Callable[..., None]) -> None:
    async def test(reconciled: Reconciled) -> None:
        for version in ("1", "2", "3"):
            reconciled.write(f"m/{version}")
        await reconciled.reconciler.load()
        assert list(reconciled.states()) == ["m/2", "m/3"]
        assert reconciled.served == 3

    run(test, VersionPolicy(2, {}))


def test_a_refused_version_leaves_the_one_before_in_service_and_is_tried_again(
    run: Callable[..., None],
) -> None:
    async def test(reconciled: Reconciled) -> None:
        reconciled.write("m/1")
        reconciled.write("m/2", "odd")
        await reconciled.reconciler.load()
        refused = reconciled.repository.find("m", 2)
        assert (reconciled.served, refused.state, refused.reason) == (1, State.FAILED, "file: is odd")
        assert {labels[:2] for labels in reconciled.shown(metrics.REFUSED)} == {("m", "2")}
        with capture_logs() as logs:
            await reconciled.scan()
        assert logs == []
        reconciled.reconciler._reset_failures()
        with capture_logs() as logs:
            await reconciled.scan()
        assert [line["event"] for line in logs] == ["model refused"]
        reconciled.write("m/2")
        await reconciled.scan()
        assert (reconciled.served, reconciled.shown(metrics.REFUSED)) == (2, set())
        assert reconciled.states() == {"m/2": State.AVAILABLE}
        assert reconciled.repository.find("m", 2).reason == ""

    run(test)


def test_files_that_cannot_be_read_are_tried_again_unchanged_and_logged_once(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[str] = []

    def denied(folder: VersionFolder, *_: Any) -> Any:
        attempts.append(folder.path.name)
        raise ModelError(f"{folder.path}/file: Permission denied") from PermissionError()

    async def test(reconciled: Reconciled) -> None:
        monkeypatch.setattr(reconciler_module, "load_version", denied)
        reconciled.write("m/1")
        with capture_logs() as logs:
            for _ in range(8):
                await reconciled.scan()
        assert len(attempts) == 4  # of 8 scans: at the first, and 1, 2 and 4 scans later
        assert [line["event"] for line in logs] == ["model refused"]
        assert reconciled.repository.list()[0].reason == "file: Permission denied"
        monkeypatch.setattr(reconciler_module, "load_version", load)
        for _ in range(8):
            await reconciled.scan()
        assert reconciled.served == 1

    run(test)


def test_a_fault_of_one_version_or_one_model_stops_no_other(run: Callable[..., None]) -> None:
    async def test(reconciled: Reconciled) -> None:
        reconciled.write("a/1", "fault")
        reconciled.write("m/1")
        with capture_logs() as logs:
            await reconciled.reconciler.load()
        assert [line["event"] for line in logs if line["log_level"] == "error"] == ["loading failed", "model refused"]
        failed = reconciled.repository.find("a", 1)
        assert (failed.state, failed.reason) == (State.FAILED, "internal error; the server's log has the cause")
        assert reconciled.shown(metrics.REFUSED) == {("a", "1", "internal")}
        assert reconciled.served == 1

    run(test)


def test_exchanged_files_are_loaded_anew_and_the_old_engine_closed(run: Callable[..., None]) -> None:
    async def test(reconciled: Reconciled) -> None:
        reconciled.write("m/1")
        await reconciled.reconciler.load()
        reconciled.write("m/1", "other")
        await reconciled.scan()
        assert reconciled.repository.get("m", 0).engine.name == "other"
        assert (reconciled.served, reconciled.closed) == (1, ["m/1"])
        reconciled.write("m/1", "odd")
        await reconciled.scan()
        known = reconciled.repository.find("m", 1)
        assert (known.state, known.reason) == (State.AVAILABLE, "file: is odd")  # what was loaded goes on
        assert reconciled.closed == ["m/1"]

    run(test)


def test_an_empty_or_missing_folder_changes_nothing_and_a_removed_model_goes(run: Callable[..., None]) -> None:
    async def test(reconciled: Reconciled) -> None:
        reconciled.write("m/1")
        reconciled.write("n/1")
        await reconciled.reconciler.load()
        away = reconciled.folder.parent / "away"
        for _ in range(2):  # a problem that comes back is told again
            reconciled.folder.rename(away)
            with capture_logs() as logs:
                await reconciled.scan()
                reconciled.folder.mkdir()
                await reconciled.scan()
                await reconciled.scan()
            assert [line["event"] for line in logs] == ["cannot read the models folder", "the models folder is empty"]
            assert list(reconciled.states()) == ["m/1", "n/1"]
            reconciled.folder.rmdir()
            away.rename(reconciled.folder)
            await reconciled.scan()
        shutil.rmtree(reconciled.folder / "m")
        await reconciled.scan()
        assert (list(reconciled.states()), reconciled.closed) == (["n/1"], ["m/1"])
        assert reconciled.shown(metrics.IN_SERVICE) == {("n", "1")}

    run(test)


def test_without_a_model_the_reason_is_told_and_ends_the_start_if_one_is_required(run: Callable[..., None]) -> None:
    async def test(reconciled: Reconciled) -> None:
        with pytest.raises(ModelError, match=r"no model to serve: .* holds no folder NAME/VERSION"):
            await reconciled.reconciler.load(required=True)
        reconciled.write("m/1", "odd")
        with capture_logs() as logs:
            await reconciled.reconciler.load()
        (line,) = (line for line in logs if line["event"] == "waiting for a model")
        assert line["reason"] == "m/1: file: is odd"
        assert not reconciled.repository.serves.is_set()

    run(test)


def test_what_options_name_and_the_folder_lacks_is_told(run: Callable[..., None]) -> None:
    async def test(reconciled: Reconciled) -> None:
        reconciled.write("m/1")
        with capture_logs() as logs:
            await reconciled.reconciler.load()
        told = [
            (line["model"], line["reason"].partition(" ")[0]) for line in logs if line["event"] == "model not found"
        ]
        assert told == [("p", "--pin"), ("s", "--shadow")]
        assert reconciled.served == 1

    run(test, VersionPolicy(1, {"p": 1, "m": 1}, {"s": 2}))


def test_a_pinned_version_without_a_folder_is_not_replaced_by_another(run: Callable[..., None]) -> None:
    async def test(reconciled: Reconciled) -> None:
        reconciled.write("m/1")
        with capture_logs() as logs:
            await reconciled.reconciler.load()
            await reconciled.scan()
        (line,) = (line for line in logs if line["event"] == "model refused")
        assert line["reason"] == "m has no version 7, which its pin or shadow names: its versions are 1"
        assert reconciled.states() == {"m/7": State.FAILED}

    run(test, VersionPolicy(1, {"m": 7}))


@pytest.mark.parametrize("file", ["pin", "shadow"])
@pytest.mark.parametrize("running", [False, True], ids=["at the start", "while it serves"])
def test_a_file_that_names_no_version_is_shown_as_failed_until_it_is_repaired(
    running: bool, file: str, run: Callable[..., None]
) -> None:
    async def test(reconciled: Reconciled) -> None:
        reconciled.write("m/1")
        path = reconciled.folder / "m" / file
        if running:
            await reconciled.scan()
            (reconciled.folder / "m" / "pin").write_text("8")
            await reconciled.scan()
            assert "m/8" in reconciled.states()
        path.write_text("x")
        if running and file == "shadow":
            (reconciled.folder / "m" / "pin").unlink()
        await reconciled.scan()
        await reconciled.scan()
        failed = reconciled.repository.list()[0]
        assert (failed.version, failed.state) == (0, State.FAILED)
        assert failed.reason == f"{file}: 'x' is not a version: write a version number, or remove the file"
        assert reconciled.states() == {"m/0": State.FAILED} | ({"m/1": State.AVAILABLE} if running else {})
        assert reconciled.shown(metrics.REFUSED) == {("m", "0", "malformed")}
        if running:
            assert reconciled.served == 1
        path.unlink()
        await reconciled.scan()
        assert (reconciled.served, reconciled.states()) == (1, {"m/1": State.AVAILABLE})
        assert reconciled.shown(metrics.REFUSED) == set()
        path.write_text("x")
        await reconciled.scan()
        shutil.rmtree(reconciled.folder / "m")
        reconciled.write("n/1")
        await reconciled.scan()
        assert reconciled.states() == {"n/1": State.AVAILABLE}

    run(test)


def test_a_dangling_link_in_place_of_the_pin_does_not_undo_a_rollback(run: Callable[..., None]) -> None:
    async def test(reconciled: Reconciled) -> None:
        reconciled.write("m/1")
        reconciled.write("m/2")
        pin = reconciled.folder / "m" / "pin"
        pin.write_text("1")
        await reconciled.reconciler.load()
        pin.unlink()
        pin.symlink_to("nowhere")
        with capture_logs() as logs:
            await reconciled.scan()
        assert [line["event"] for line in logs] == ["cannot choose a version"]
        assert "a link to a file that does not exist" in logs[0]["reason"]
        assert reconciled.served == 1
        pin.unlink()
        await reconciled.scan()
        assert reconciled.served == 2

    run(test)


def test_a_shadow_is_compared_with_the_version_in_service_until_either_changes(run: Callable[..., None]) -> None:
    shadows: list[Any] = []

    async def test(reconciled: Reconciled) -> None:
        for version in ("1", "2"):
            reconciled.write(f"m/{version}")
        await reconciled.reconciler.load()
        in_service = reconciled.repository.get("m", 0)
        assert (shadows, in_service.version) == ([(1, 2)], 1)
        assert in_service.shadow.running is reconciled.repository.models["m"].shadow
        await reconciled.scan()
        assert shadows == [(1, 2)]
        reconciled.write("m/3")
        await reconciled.scan()
        assert (shadows, reconciled.served) == ([(1, 2), (3, 2)], 3)
        assert reconciled.closed == ["m/1", "shadow 2"]
        assert in_service.shadow.running is None
        (reconciled.folder / "m" / "pin").write_text("2")
        await reconciled.scan()
        assert (shadows, reconciled.served) == ([(1, 2), (3, 2)], 2)  # it is no shadow any more
        assert reconciled.repository.models["m"].shadow is None

    run(test, VersionPolicy(1, {}, {"m": 2}), shadows)


@pytest.mark.parametrize("pins", [{}, {"m": 1}], ids=["only version", "pinned"])
def test_the_only_or_pinned_version_serves_although_it_is_the_shadow_with_a_warning(
    pins: dict[str, int], run: Callable[..., None]
) -> None:
    async def test(reconciled: Reconciled) -> None:
        reconciled.write("m/1")
        with capture_logs() as logs:
            await reconciled.reconciler.load()
            await reconciled.scan()
        assert reconciled.served == 1
        (warning,) = (line for line in logs if line["log_level"] == "warning")
        assert (warning["event"], warning["model"]) == ("no shadow", "m")
        assert warning["reason"].startswith("version 1 is the shadow")
        reconciled.write("m/2")
        await reconciled.scan()
        assert reconciled.served == (1 if pins else 2)

    run(test, VersionPolicy(1, pins, {"m": 1}), [])


@pytest.mark.parametrize("pinned", [False, True])
def test_a_shadow_that_goes_into_service_as_the_highest_version_is_a_warning(
    pinned: bool, run: Callable[..., None]
) -> None:
    async def test(reconciled: Reconciled) -> None:
        for version in ("1", "2"):
            reconciled.write(f"m/{version}")
        shadow = reconciled.folder / "m" / "shadow"
        shadow.write_text("2")
        await reconciled.reconciler.load()
        if pinned:
            (reconciled.folder / "m" / "pin").write_text("2")  # promoted
        shadow.unlink()
        with capture_logs() as logs:
            await reconciled.scan()
        warnings = [line["event"] for line in logs if line["log_level"] == "warning"]
        assert (reconciled.served, warnings) == (2, [] if pinned else ["shadow in service"])

    run(test, None, [])


@pytest.mark.parametrize("version", ["m/2", "m/1"], ids=["another version", "exchanged files"])
def test_other_labels_in_service_are_a_warning_with_the_removed_and_added_ones(
    version: str, run: Callable[..., None]
) -> None:
    async def test(reconciled: Reconciled) -> None:
        reconciled.write("m/1")
        await reconciled.reconciler.load()
        reconciled.write(version, "other labels")
        with capture_logs() as logs:
            await reconciled.scan()
            await reconciled.scan()
        (warning,) = (line for line in logs if line["log_level"] == "warning")
        assert (warning["event"], warning["previous"], warning["version"]) == ("labels changed", 1, int(version[2:]))
        assert (warning["removed"], warning["added"]) == ("y", "z")
        reconciled.write("m/3", "other labels")
        with capture_logs() as logs:
            await reconciled.scan()
        assert (reconciled.served, [line for line in logs if line["log_level"] == "warning"]) == (3, [])

    run(test)


def test_long_labels_are_cut_in_the_warning_of_other_labels(run: Callable[..., None]) -> None:
    async def test(reconciled: Reconciled) -> None:
        reconciled.write("m/1", "long labels")
        await reconciled.reconciler.load()
        reconciled.write("m/2")
        with capture_logs() as logs:
            await reconciled.scan()
        (warning,) = (line for line in logs if line["log_level"] == "warning")
        assert (warning["removed"], warning["added"]) == ("z" * 64 + "…", "y")

    run(test)


def test_closing_lets_go_of_everything(run: Callable[..., None]) -> None:
    shadows: list[Any] = []

    async def test(reconciled: Reconciled) -> None:
        for version in ("1", "2"):
            reconciled.write(f"m/{version}")
        await reconciled.reconciler.load()
        await reconciled.reconciler.close()
        assert reconciled.closed == ["m/1", "m/2", "shadow 2"]
        assert reconciled.repository.models == {}

    run(test, VersionPolicy(1, {}, {"m": 2}), shadows)
