"""Reloads values, such as certificates and tokens, when their files change."""

import os
import stat
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from service.errors import StartError

_log = structlog.get_logger()

T = TypeVar("T")

_MAX_BYTES = 16 << 20
"""Maximum size of a file of certificates or tokens: more than 100,000 of them."""


class Reloaded(Generic[T]):
    """A value that is read again when its files change. It is safe to share between threads.

    If files cannot be read, or do not match because only one of them has been replaced so far, the previous value
    stays. The log gives the reason, once for each change.

    Args:
        name: the name of the value in the log.
        files: the files that the value is read from.
        read: reads the value. Raises StartError if it cannot.

    Raises:
        StartError: the first read fails.
    """

    def __init__(self, name: str, files: Sequence[Path], read: Callable[[], T]) -> None:
        self._name = name
        self._files = files
        self._read = read
        self._lock = threading.Lock()
        self.on_reload: Callable[[], None] = lambda: None
        """Called when the files have changed, whether they could be read or not."""
        self._seen = self._stamps()  # before the read, so that a change meanwhile is noticed
        self._value = read()

    def get(self) -> T:
        """Returns the current value. Costs one `stat` for each file that has not changed."""
        stamps = self._stamps()
        if stamps != self._seen:
            with self._lock:
                if stamps != self._seen:
                    self._seen = stamps
                    self._reload()
        return self._value

    def _reload(self) -> None:
        try:
            self._value = self._read()
        except StartError as error:
            _log.error("not reloaded", what=self._name, reason=str(error))
        else:
            _log.info("reloaded", what=self._name)
        self.on_reload()

    @property
    def value(self) -> T:
        """The last value that was read."""
        return self._value

    @property
    def stamps(self) -> list[tuple[int, ...]]:
        """The modification time in ns, size, inode and device of each file when it was last read."""
        return self._seen

    def _stamps(self) -> list[tuple[int, ...]]:
        return [_stamp(path) for path in self._files]


def read_bytes(path: Path) -> bytes:
    """Reads a file that the configuration names. It never waits for a writer, nor reads without end.

    Raises:
        StartError: the file cannot be read, is too large, or is a pipe, which can be read only once.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
                raise StartError(
                    f"cannot read {path}: it is a pipe, and each process reads the file: give a regular file"
                )
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise StartError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > _MAX_BYTES:
        raise StartError(f"cannot read {path}: it holds more than {_MAX_BYTES >> 20} MiB")
    return content


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _stamp(path: Path) -> tuple[int, ...]:
    """Returns a value that changes whenever the file changes or is replaced; empty if there is no file."""
    try:
        status = os.stat(path)  # noqa: PTH116, takes a third of the time of Path.stat, in each request
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev
