"""Files that are written as a whole or not at all."""

from pathlib import Path

import pytest

from tests.full_disk import full_disk
from textfiles import InputError
from training.whole_file import written_whole


def test_a_file_gets_its_name_at_the_end(tmp_path: Path) -> None:
    with written_whole(tmp_path / "a") as write:
        write(b"one ")
        write(b"two")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a").read_bytes() == b"one two"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("size", [10, 100_000], ids=["at the end", "in the block"])
def test_a_full_disk_is_an_error_that_names_the_file_and_leaves_the_old_one(size: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(InputError, match=f"^cannot write {tmp_path}/a: File too large$"):  # noqa: SIM117
        with full_disk(5), written_whole(tmp_path / "a") as write:
            write(b"x" * size)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "old")]


def test_other_errors_of_the_block_are_kept_and_nothing_is_written(tmp_path: Path) -> None:
    def run() -> None:
        with written_whole(tmp_path / "a") as write:
            write(b"x")
            raise OSError(28, "of another file")

    with pytest.raises(OSError, match="of another file"):
        run()
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_an_error_at_once(tmp_path: Path) -> None:
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "no" / "a", "No such file or directory")):
        with pytest.raises(InputError, match=f"^cannot write {path}: {reason}$"), written_whole(path):
            pytest.fail("the block was entered")
