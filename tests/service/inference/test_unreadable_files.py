"""Files that cannot be read take down their version alone. The server runs without root's right to ignore modes."""

import asyncio
import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.config import Config
from service.inference.reconciler import Reconciler
from service.inference.repository import ModelRepository
from service.inference.version_policy import VersionPolicy
from service.process.worker import publisher
from service.telemetry.metrics import VersionStates
from service.telemetry.shared_metrics import PAGE_BYTES, MetricsPage
from tests.server_process import UNPRIVILEGED, serving
from tests.tiny_model import write_model
from text_classifier import Client, State

FOLLOWING = ("--workers", "1", "--watch-interval", "0.05")


@pytest.fixture
def models(tiny_models: Path, tmp_path: Path) -> Path:
    """A models folder to change."""
    return Path(shutil.copytree(tiny_models, tmp_path / "models"))


def _labels(version: Path) -> Path:
    return version / "assets" / "labels.txt"


def _weights(version: Path) -> Path:
    return version / "variables" / "variables.data-00000-of-00001"


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def _non_utf8(version: Path) -> None:
    (version / "assets").rename(version / "elsewhere")
    (version / "assets").symlink_to(os.fsdecode(b"\xff\xfe"))


HARMS: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder without x": (lambda version: version.chmod(0o644), "Permission denied"),
    "folder without r": (lambda version: version.chmod(0o000), "Permission denied"),
    "file without r": (lambda version: _labels(version).chmod(0o000), "assets/labels.txt: Permission denied"),
    "assets without x": (lambda version: (version / "assets").chmod(0o600), "Permission denied"),
    "weights without r": (lambda version: _weights(version).chmod(0), "denied"),
    "fifo": (lambda version: _replace(_labels(version), os.mkfifo), "labels.txt: is not a regular file"),
    "fifo that nobody reads": (lambda version: os.mkfifo(version / "extra"), "extra: is not a regular file"),
    "socket": (
        lambda version: _replace(_labels(version), lambda path: os.mknod(path, stat.S_IFSOCK)),
        "labels.txt: is not a regular file",
    ),
    "device": (
        lambda version: _replace(_labels(version), lambda path: path.symlink_to("/dev/zero")),
        "labels.txt: is not a regular file",
    ),
    "dangling link": (
        lambda version: _replace(_labels(version), lambda path: path.symlink_to("nowhere")),
        "labels.txt: No such file",
    ),
    "link to itself": (
        lambda version: _replace(_labels(version), lambda path: path.symlink_to("labels.txt")),
        f"labels.txt: {os.strerror(errno.ELOOP)}",
    ),
    "folder in place of a file": (lambda version: _replace(_labels(version), Path.mkdir), "Is a directory"),
    "link to everything": (lambda version: (version / "all").symlink_to("/usr"), "more than 10000 files"),
    "a name that is not UTF-8": (_non_utf8, "No such file"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_version_that_cannot_be_read_is_failed_and_the_rest_goes_on(harm: str, models: Path, tmp_path: Path) -> None:
    damage, reason = HARMS[harm]
    damage(write_model(tmp_path / "elsewhere", "sentiment", seed=2).path)
    with serving(models, *FOLLOWING, run_by=UNPRIVILEGED) as server, Client(server.address, timeout=60) as client:
        (tmp_path / "elsewhere" / "sentiment" / "1").rename(models / "sentiment" / "2")
        server.event("model refused", model="sentiment", version=2)
        failed = client.model("sentiment", version=2)
        assert failed.state is State.FAILED
        assert reason in failed.state_reason
        assert client.classify(["oil"], model="sentiment")[0].version == 1
        write_model(models, "topic", seed=2)  # comes after it in the alphabet
        server.event("model in service", model="topic", version=2)
        refusals = [line for line in server.log if line["event"] == "model refused"]
        assert len(refusals) == 1


def test_a_start_with_unreadable_versions_serves_the_others(models: Path) -> None:
    bad = write_model(models, "sentiment", seed=2).path
    bad.chmod(0o644)
    (models / "another").mkdir(mode=0)
    with serving(models, *FOLLOWING, run_by=UNPRIVILEGED) as server, Client(server.address, timeout=60) as client:
        assert client.classify(["oil"], model="sentiment")[0].version == 1
        assert client.model("sentiment", version=2).state is State.FAILED
        assert "Permission denied" in server.event("cannot choose a version", model="another")["reason"]
        another = client.model("another")
        assert (another.version, another.state) == (0, State.FAILED)
        assert another.state_reason == "the model's folder: Permission denied"
        assert 'model_refused{model="another",reason="malformed",version="0"} 1.0' in server.metrics()
        bad.chmod(0o755)
        server.event("model in service", model="sentiment", version=2)
    assert [line["event"] for line in server.log].count("cannot choose a version") == 1


def test_a_file_serves_once_its_mode_lets_the_server_read_it(models: Path) -> None:
    labels = _labels(write_model(models, "sentiment", seed=2).path)
    labels.chmod(0)
    with serving(models, *FOLLOWING, run_by=UNPRIVILEGED) as server:
        server.event("model refused", model="sentiment", version=2)
        labels.chmod(0o644)
        server.event("model in service", model="sentiment", version=2)


def test_labels_exchanged_behind_a_linked_folder_are_noticed(models: Path, tmp_path: Path) -> None:
    assets = models / "sentiment" / "1" / "assets"
    assets.rename(tmp_path / "shared")
    assets.symlink_to(tmp_path / "shared")
    with serving(models, *FOLLOWING, run_by=UNPRIVILEGED) as server, Client(server.address, timeout=60) as client:
        client.classify(["oil"], model="sentiment")
        new = tmp_path / "labels.txt"
        new.write_text("bad\ngood\n")
        new.rename(tmp_path / "shared" / "labels.txt")
        reason = server.event("model refused", model="sentiment", version=1)["reason"]
        assert "assets/labels.txt: was not written together" in reason
        assert client.classify(["oil"], model="sentiment")[0].label in ("negative", "positive")


def test_a_model_whose_update_fails_unexpectedly_stops_no_other(models: Path) -> None:
    shutil.copytree(models / "sentiment" / "1", models / "sentiment" / "2")
    (models / "sentiment" / "shadow").write_text("2")
    page = MetricsPage(bytearray(PAGE_BYTES))

    def start_shadow(*_: object) -> Any:
        raise RuntimeError("nobody expects it")

    async def test() -> None:
        repository = ModelRepository()
        reconciler = Reconciler(
            repository,
            models,
            engine="auto",
            policy=VersionPolicy(1, {}),
            publish=publisher(Config(models=models), page),
            states=VersionStates(page),
            start_shadow=start_shadow,
        )
        await reconciler.load()
        assert repository.get("topic", 0).version == 1
        await reconciler.close()

    asyncio.run(test())


def test_a_pin_that_is_no_file_stops_no_other_model(models: Path) -> None:
    with serving(models, *FOLLOWING, run_by=UNPRIVILEGED) as server:
        (models / "sentiment" / "pin").mkdir()
        server.event("cannot choose a version", model="sentiment")
        write_model(models, "topic", seed=2)
        server.event("model in service", model="topic", version=2)
