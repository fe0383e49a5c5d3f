import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.full_disk import full_disk
from textmodel import ModelError, version_folder
from textmodel.names import MAX_VERSION, is_model_name
from textmodel.version_folder import (
    VersionFolder,
    check_files,
    fingerprint,
    new_version,
    pinned_version,
    scan_model,
    served_version,
    version_path,
    versions,
)


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def _write(models: Path) -> Path:
    with new_version(models, "mine") as folder:
        (folder.path / "file").touch()
    return folder.path


def test_each_run_writes_the_next_version(tmp_path: Path) -> None:
    assert _write(tmp_path) == tmp_path / "mine" / "1"
    (tmp_path / "mine" / "7").mkdir()
    assert _write(tmp_path) == tmp_path / "mine" / "8"
    assert _names(tmp_path / "mine") == ["1", "7", "8"]


def test_two_writers_at_a_time_get_two_versions(tmp_path: Path) -> None:
    with new_version(tmp_path, "mine") as slow:
        (slow.path / "slow").touch()
        with new_version(tmp_path, "mine") as quick:
            (quick.path / "quick").touch()
    assert (_names(quick.path), _names(slow.path)) == (["quick"], ["slow"])
    assert _names(tmp_path / "mine") == ["1", "2"]


def test_a_version_that_is_being_written_is_not_seen(tmp_path: Path) -> None:
    with new_version(tmp_path, "mine"):
        assert versions(tmp_path / "mine") == []
    assert versions(tmp_path / "mine") == [1]


def _exchange(file: Path) -> None:
    """Puts another file of the same size and time in its place."""
    other = file.with_suffix(".other")
    shutil.copy2(file, other)
    other.rename(file)


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.write_text("longer than before"),
        lambda file: os.utime(file, ns=(0, 1)),
        _exchange,
        lambda file: file.rename(file.with_suffix(".renamed")),
        lambda file: file.unlink(),
        lambda file: (file.parent / "more").touch(),
        lambda file: shutil.rmtree(file.parent.parent),
    ],
    ids=["size", "time", "inode", "name", "removed", "added", "folder removed"],
)
def test_any_change_of_a_file_changes_the_fingerprint(change: Callable[[Path], object], tmp_path: Path) -> None:
    file = tmp_path / "mine" / "assets" / "labels.txt"
    file.parent.mkdir(parents=True)
    file.write_text("labels")
    before = fingerprint(tmp_path / "mine")
    assert fingerprint(tmp_path / "mine") == before
    change(file)
    assert fingerprint(tmp_path / "mine") != before


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_nothing_behind(error: type[BaseException], tmp_path: Path) -> None:
    def fail() -> None:
        with new_version(tmp_path, "mine") as folder:
            (folder.path / "file").touch()
            raise error

    with pytest.raises(error):
        fail()
    assert _names(tmp_path) == []
    _write(tmp_path)
    with pytest.raises(error):
        fail()
    assert _names(tmp_path / "mine") == ["1"]


def test_what_a_killed_writer_left_is_never_seen_and_goes_with_the_next_version(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from textmodel.version_folder import new_version\n"
        "with new_version(Path(sys.argv[1]), 'mine') as folder:\n"
        "    (folder.path / 'file').touch(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    with new_version(tmp_path, "mine") as alive:
        run = subprocess.run([sys.executable, "-c", script, tmp_path], check=False)
        assert run.returncode == -signal.SIGKILL
        assert len(_names(tmp_path / "mine")) == 2
        assert versions(tmp_path / "mine") == []
        _write(tmp_path)
        assert _names(tmp_path / "mine") == [alive.path.name, "1"]  # whoever still writes keeps its folder
    assert _names(tmp_path / "mine") == ["1", "2"]


def test_a_version_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr(os, "fsync", record)
    with new_version(tmp_path, "mine") as folder:
        hidden = folder.path
        folder.assets.mkdir()
        (folder.assets / "labels.txt").write_text("good")
    # The files, then the folders that name them, the version's name last.
    assert synced == [hidden / "assets" / "labels.txt", hidden / "assets", hidden, tmp_path / "mine", tmp_path]


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "-x", "a/b", "../a", "a\0", "a\n", "é", "a" * 129])
def test_a_name_that_cannot_be_a_folder_s_is_refused(name: str, tmp_path: Path) -> None:
    assert not is_model_name(name)
    with pytest.raises(ModelError, match="cannot name a model"), new_version(tmp_path, name):
        pass
    assert _names(tmp_path) == []


def test_versions_are_positive_integers_in_their_order(tmp_path: Path) -> None:
    for name in ("10", "9", "0", "-1", ".new-x", "1.5", "latest", "candidate-1", "v2", "0010", "9223372036854775808"):
        (tmp_path / name).mkdir()
    (tmp_path / "11").touch()
    (tmp_path / "12").symlink_to("nowhere")
    assert versions(tmp_path) == [9, 10]
    (tmp_path / "１").mkdir()
    ignored = scan_model(tmp_path)[1]
    assert list(ignored) == ["-1", "0", "0010", "1.5", "11", "12", "9223372036854775808", "v2", "１"]
    assert ignored["0010"] == "version 10 is the folder 10: rename or remove one of the two"
    assert (ignored["11"], ignored["12"]) == ("not a folder", "a dangling link")
    assert all("a whole number from 1 to" in ignored[name] for name in ("-1", "0", "1.5", "v2", "１"))
    assert versions(tmp_path / "nowhere") == []
    assert versions(tmp_path / "11") == []


def test_any_int64_is_a_version_and_leading_zeros_are_allowed(tmp_path: Path) -> None:
    for name in ("000123", "1732899999123456789", "9223372036854775807"):
        (tmp_path / name).mkdir()
    assert versions(tmp_path) == [123, 1732899999123456789, 2**63 - 1]
    assert version_path(tmp_path, 123) == tmp_path / "000123"
    assert version_path(tmp_path, 7) == tmp_path / "7"
    assert scan_model(tmp_path)[1] == {}
    (tmp_path / "pin").write_text("000123\n")
    assert pinned_version(tmp_path) == 123


def test_no_version_follows_the_largest(tmp_path: Path) -> None:
    (tmp_path / "mine" / str(MAX_VERSION)).mkdir(parents=True)
    with pytest.raises(ModelError, match="is the largest"), new_version(tmp_path, "mine"):
        pass
    assert _names(tmp_path / "mine") == [str(MAX_VERSION)]


def test_a_fingerprint_follows_links_and_ends_in_loops(tmp_path: Path) -> None:
    version, elsewhere = tmp_path / "1", tmp_path / "elsewhere"
    version.mkdir()
    elsewhere.mkdir()
    (elsewhere / "labels.txt").write_text("a\nb\n")
    (elsewhere / "back").symlink_to(version)
    (elsewhere / "itself").symlink_to(elsewhere)
    (version / "assets").symlink_to(elsewhere)
    (version / "again").symlink_to("again")
    before = fingerprint(version)
    assert [name for name, *_ in before] == ["again", "assets/labels.txt"]
    (elsewhere / "labels.txt").write_text("b\na\n")
    os.utime(elsewhere / "labels.txt", ns=(1, 1))
    assert fingerprint(version) != before


def test_a_fingerprint_of_what_cannot_be_read_is_an_entry(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    assert [(name, size) for name, size, *_ in fingerprint(tmp_path)] == [("dangling", -errno.ENOENT)]
    check_files(fingerprint(tmp_path))


@pytest.mark.parametrize("kind", ["fifo", "socket", "device"])
def test_a_file_that_may_block_its_reader_is_refused(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    match kind:
        case "fifo":
            os.mkfifo(file)
        case "socket":
            socket.socket(socket.AF_UNIX).bind(str(file))
        case "device":
            file.symlink_to("/dev/zero")
    with pytest.raises(ModelError, match=r"labels\.txt: is not a regular file"):
        check_files(fingerprint(tmp_path))


def test_more_files_than_a_version_can_have_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version_folder, "MAX_FILES", 3)
    for name in "abc":
        (tmp_path / name).touch()
    check_files(fingerprint(tmp_path))
    (tmp_path / "d").touch()
    with pytest.raises(ModelError, match="more than 3 files"):
        check_files(fingerprint(tmp_path))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_pin_and_a_shadow_may_have_the_byte_order_mark_that_windows_writes(encoding: str, tmp_path: Path) -> None:
    for name in ("pin", "shadow"):
        (tmp_path / name).write_text("12\r\n", encoding=encoding)
    assert (pinned_version(tmp_path), version_folder.shadow_version(tmp_path)) == (12, 12)


def test_a_pin_that_is_a_fifo_blocks_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pin")
    with pytest.raises(ModelError, match="is not a regular file"):
        pinned_version(tmp_path)


@pytest.mark.parametrize("content", ["", "one\n", "one\ntwo\none\n", "one\n\ntwo\n"])
def test_labels_that_are_not_two_or_more_different_lines_are_refused(content: str, tmp_path: Path) -> None:
    folder = VersionFolder(tmp_path)
    folder.assets.mkdir()
    (folder.assets / "labels.txt").write_text(content)
    with pytest.raises(ModelError, match=r"labels.txt: needs two labels or more"):
        _ = folder.labels


def test_missing_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"labels.txt: No such file"):
        _ = VersionFolder(tmp_path).labels


def test_a_candidate_is_kept_but_is_no_version(tmp_path: Path) -> None:
    for _ in range(2):
        with new_version(tmp_path, "mine"):
            pass
    for _ in range(2):
        with new_version(tmp_path, "mine") as folder:
            (folder.path / "file").touch()
            folder.is_candidate = True
    assert folder.path == tmp_path / "mine" / "candidate-4"
    assert sorted(entry.name for entry in (tmp_path / "mine").iterdir()) == ["1", "2", "candidate-3", "candidate-4"]
    assert versions(tmp_path / "mine") == [1, 2]


def test_the_pinned_version_is_served_else_the_highest(tmp_path: Path) -> None:
    assert served_version(tmp_path / "mine") is None
    for number in ("2", "10", "candidate-11"):
        (tmp_path / "mine" / number).mkdir(parents=True)
    assert served_version(tmp_path / "mine") == 10
    (tmp_path / "mine" / "pin").write_text(" 2\n")
    assert served_version(tmp_path / "mine") == 2


@pytest.mark.parametrize("content", ["", "two", "0", "-1", "1.0"])
def test_a_pin_that_is_no_version_number_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "pin").write_text(content)
    with pytest.raises(ModelError, match="write a version number"):
        served_version(tmp_path)


@pytest.mark.parametrize("name", ["a", "7", "A.b_c-d", "a" * 128])
def test_a_name_has_up_to_128_letters_digits_and_signs(name: str) -> None:
    assert is_model_name(name)


def test_a_shadow_is_not_served_unless_it_is_pinned_or_the_only_version(tmp_path: Path) -> None:
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
    (tmp_path / "shadow").write_text("2\n")
    assert version_folder.shadow_version(tmp_path) == 2
    assert served_version(tmp_path) == 1
    (tmp_path / "pin").write_text("2\n")
    assert served_version(tmp_path) == 2
    (tmp_path / "pin").unlink()
    (tmp_path / "1").rmdir()
    assert served_version(tmp_path) == 2


def test_a_promoted_version_is_pinned_and_no_shadow_any_more(tmp_path: Path) -> None:
    for number in ("1", "2", "3"):
        (tmp_path / number).mkdir()
    (tmp_path / "shadow").write_text("3\n")
    pin = version_folder.promote_version(tmp_path, 2)
    assert (pin, pin.read_text(), pin.stat().st_mode & 0o777) == (tmp_path / "pin", "2\n", 0o644)
    assert _names(tmp_path) == ["1", "2", "3", "pin", "shadow"]
    version_folder.promote_version(tmp_path, 3)
    assert _names(tmp_path) == ["1", "2", "3", "pin"]
    assert served_version(tmp_path) == 3


def test_a_promotion_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "shadow").write_text("2")
    with pytest.raises(OSError, match="File too large"), full_disk(1):
        version_folder.promote_version(tmp_path, 2)
    assert _names(tmp_path) == ["shadow"]


def test_a_shadow_file_without_a_number_is_left_alone_by_a_promotion(tmp_path: Path) -> None:
    (tmp_path / "shadow").write_text("x")
    version_folder.promote_version(tmp_path, 2)
    assert _names(tmp_path) == ["pin", "shadow"]


def test_a_wrong_pin_is_quoted_up_to_64_characters_of_the_first_1024(tmp_path: Path) -> None:
    (tmp_path / "pin").write_text("x" * 65)
    with pytest.raises(ModelError, match=f"pin: .*'{'x' * 64}'.* write a version number"):
        pinned_version(tmp_path)
    (tmp_path / "pin").write_text("7" + " " * 1023 + "7")
    assert pinned_version(tmp_path) == 7


def test_a_version_has_up_to_ten_thousand_files() -> None:
    assert version_folder.MAX_FILES == 10_000


def test_what_reads_a_written_version_may_be_another_user(tmp_path: Path) -> None:
    assert _write(tmp_path).stat().st_mode & 0o777 == 0o755


def test_a_fingerprint_of_what_is_no_folder_is_an_entry_and_of_nothing_is_empty(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert fingerprint(tmp_path / "file") == (("", -errno.ENOTDIR, 0, 0),)
    assert fingerprint(tmp_path / "nothing") == ()
