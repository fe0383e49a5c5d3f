"""Tokens of a file, and values that follow their files."""

import hashlib
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.errors import StartError, Unauthenticated
from service.security.reloaded_file import Reloaded, read_bytes
from service.security.tokens import Tokens


def written(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def test_a_token_is_a_line_of_its_file(tmp_path: Path) -> None:
    tokens = Tokens(written(tmp_path / "tokens", "# of the tests\n\n one \ntwo=#/+\n"))
    for header in ("Bearer one", "bearer one", "BEARER two=#/+"):
        tokens.check(header)
    for header in ("", "Bearer", "Bearer ", "Bearer  one", "Bearer one ", "one", "Basic one", "Bearer # of the tests"):
        with pytest.raises(Unauthenticated):
            tokens.check(header)


def test_the_byte_order_mark_that_windows_writes_is_no_part_of_a_token(tmp_path: Path) -> None:
    tokens = Tokens(written(tmp_path / "tokens", "\ufeffone\r\n"))
    tokens.check("Bearer one")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "tokens holds no token: write one in each line"),
        (b"# one\n\n", "tokens holds no token"),
        (b"one\n\ntwo words\n", "tokens, line 3: a token consists of visible ASCII characters, without spaces"),
        ("é\n".encode(), "tokens, line 1: a token consists"),
        (b"\xff\n", "tokens is not UTF-8"),
    ],
)
def test_a_file_without_tokens_or_with_others_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_bytes(content)
    with pytest.raises(StartError, match=reason):
        Tokens(tmp_path / "tokens")


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"^cannot read .*x: No such file or directory$"):
        read_bytes(tmp_path / "x")


def test_the_digests_are_published_now_and_at_each_change(tmp_path: Path) -> None:
    path = written(tmp_path / "tokens", "one\n")
    tokens = Tokens(path)
    published: list[tuple[Path, int, list[bytes]]] = []
    tokens.publish(lambda file, stamp, digests: published.append((file, stamp[1], list(digests))))
    written(path, "three\n")
    tokens.check("Bearer three")
    one, three = (hashlib.sha256(token).digest() for token in (b"one", b"three"))
    assert published == [(path, 4, [one]), (path, 6, [three])]


def test_a_value_is_read_again_when_a_file_changes_or_is_replaced_and_only_then(tmp_path: Path) -> None:
    files = [written(tmp_path / name, name) for name in ("a", "b")]
    reads: list[str] = []

    def read() -> str:
        reads.append("".join(file.read_text() for file in files))
        return reads[-1]

    value = Reloaded("text", files, read)
    changes: list[str] = []
    value.on_reload = lambda: changes.append(value.value)
    with capture_logs() as logs:
        assert (value.get(), value.get(), changes, reads) == ("ab", "ab", [], ["ab"])
        files[1].write_text("cc")
        assert (value.get(), value.get(), changes, reads) == ("acc", "acc", ["acc"], ["ab", "acc"])
        status = files[0].stat()
        written(tmp_path / "new", "d")  # of the same size and time: only the inode tells
        os.utime(tmp_path / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
        (tmp_path / "new").rename(files[0])
        assert (value.get(), changes) == ("dcc", ["acc", "dcc"])
    assert [(line["event"], line["what"]) for line in logs] == [("reloaded", "text")] * 2
    assert value.stamps[1] == (files[1].stat().st_mtime_ns, 2, files[1].stat().st_ino, files[1].stat().st_dev)


def test_a_value_stays_while_its_file_cannot_be_read_and_the_log_says_so_once(tmp_path: Path) -> None:
    path = written(tmp_path / "a", "a")
    value = Reloaded("text", [path], lambda: read_bytes(path))
    changes: list[bytes] = []
    value.on_reload = lambda: changes.append(value.value)
    path.unlink()
    with capture_logs() as logs:
        assert (value.get(), value.get()) == (b"a", b"a")
    (line,) = logs
    assert (line["event"], line["what"], line["log_level"]) == ("not reloaded", "text", "error")
    assert line["reason"].startswith("cannot read ")
    assert changes == [b"a"]
    assert value.stamps == [()]
