"""What a version folder that cannot be loaded is refused with, and when its files count as changed."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from service.inference import version_loading
from service.inference.version_loading import load_version, may_pass
from textmodel import ModelError, VersionFolder
from textmodel.errors import ChangedError, UnsupportedError
from textmodel.version_folder import fingerprint


@pytest.fixture
def folder(tmp_path: Path) -> VersionFolder:
    """A version folder of one file, whose labels and metadata are known already."""
    (tmp_path / "file").touch()
    found = VersionFolder(tmp_path)
    found.__dict__ |= {"labels": ("a", "b"), "metadata": None}
    return found


def loads(monkeypatch: pytest.MonkeyPatch, load: Any) -> None:
    """Has this called in place of the loading of an engine, with the function that tells of a fallback."""
    monkeypatch.setattr(version_loading, "load_engine", lambda path, kind, fall_back: load(fall_back))


def fails(error: Exception) -> Any:
    def load(fall_back: Any) -> None:
        raise error

    return load


def refusal(folder: VersionFolder) -> ModelError:
    with pytest.raises(ModelError) as error:
        load_version(folder, fingerprint(folder.path), "auto", None)
    return error.value


def test_an_engine_of_unchanged_files_is_returned_and_a_fallback_logged(
    folder: VersionFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = object()

    def load(fall_back: Any) -> object:
        fall_back(UnsupportedError("why"))
        return engine

    loads(monkeypatch, load)
    with capture_logs() as logs:
        assert load_version(folder, fingerprint(folder.path), "auto", structlog.get_logger()) is engine
    assert [(line["event"], line["reason"]) for line in logs] == [("compiled engine refused", "why")]


def test_an_error_of_unchanged_files_is_its_own_reason(folder: VersionFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    loads(monkeypatch, fails(ModelError("is odd")))
    error = refusal(folder)
    assert (type(error), str(error)) == (ModelError, "is odd")
    loads(monkeypatch, fails(OSError(errno.EIO, os.strerror(errno.EIO), "x")))
    assert str(refusal(folder)) == "x: Input/output error"
    loads(monkeypatch, fails(OSError(errno.EIO, os.strerror(errno.EIO))))
    assert str(refusal(folder)) == f"{folder.path}: Input/output error"


def test_files_that_change_meanwhile_are_the_reason(folder: VersionFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(fall_back: Any) -> None:
        (folder.path / "more").touch()

    loads(monkeypatch, load)
    assert isinstance(refusal(folder), ChangedError)
    (folder.path / "more").unlink()

    def load_and_fail(fall_back: Any) -> None:
        load(fall_back)
        raise ModelError("is odd")

    loads(monkeypatch, load_and_fail)
    error = refusal(folder)
    assert isinstance(error, ChangedError)
    assert str(error).endswith("is odd")


def test_files_that_may_block_are_not_even_opened(folder: VersionFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(folder.path / "fifo")
    loads(monkeypatch, fails(AssertionError()))
    assert "is not a regular file" in str(refusal(folder))


@pytest.mark.parametrize("error", [MemoryError(), PermissionError(), OSError(errno.EMFILE, "Too many open files")])
def test_what_is_no_fault_of_the_files_may_pass(
    folder: VersionFolder, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    loads(monkeypatch, fails(error))
    assert may_pass(refusal(folder))


def test_malformed_and_missing_files_do_not_pass_without_a_change(
    folder: VersionFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads(monkeypatch, fails(ModelError("malformed")))
    assert not may_pass(refusal(folder))
    loads(monkeypatch, fails(FileNotFoundError()))
    assert not may_pass(refusal(folder))
