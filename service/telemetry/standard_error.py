"""Standard error that never blocks and never fails: lines that cannot be written immediately are dropped and counted.

Otherwise a full pipe whose reader has stalled would block the event loop at its next log line. Other processes share
the inherited descriptor, so its flags are not changed. A pipe or a terminal is opened again; a socket is told in each
call not to block.
"""

import os
import select
import socket
import stat
import threading
from collections.abc import Callable
from functools import partial

_STANDARD_ERROR = 2


class NonBlockingStderr:
    """A text stream for loggers. Each line is written as a whole, or dropped while the reader stalls.

    Args:
        report: makes a line that says how many lines were dropped. It is written when lines can be written again.
    """

    def __init__(self, report: Callable[[int], str]) -> None:
        self._report = report
        self._write = _writer()
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._rest = b""  # the rest of a partly written line
        self._dropped = 0  # since the last report
        self.on_drop: Callable[[], object] = lambda: None

    def write(self, text: str) -> None:
        """Writes a line, or drops it."""
        with self._lock:
            report = self._report(self._dropped) if self._dropped else ""
            if self._send(report + text):  # both together or neither
                self._dropped = 0
            else:
                self._dropped += 1
                self.on_drop()

    def _send(self, text: str) -> bool:
        """Returns whether a line was written, at least in part. Its rest is written before the next line."""
        line = text.encode(errors="backslashreplace")
        try:
            while self._rest:
                self._rest = self._rest[self._write(self._rest) :]
        except OSError:
            return False
        try:
            self._rest = line[self._write(line) :]
            while self._rest:
                self._rest = self._rest[self._write(self._rest) :]
        except OSError:
            return len(self._rest) > 0
        return True

    def flush(self) -> None:
        """Does nothing, since the only buffer is the rest of a partly written line."""


def _writer() -> Callable[[bytes], int]:
    """Returns a function that writes some of the bytes to standard error, or raises OSError instead of waiting.

    It has a descriptor of its own, since standard error is redirected while TensorFlow is imported.
    """
    mode = os.fstat(_STANDARD_ERROR).st_mode
    if stat.S_ISSOCK(mode):
        connection = socket.socket(fileno=os.dup(_STANDARD_ERROR))
        return lambda data: connection.send(data, socket.MSG_DONTWAIT)
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        try:
            opened = os.open(f"/proc/self/fd/{_STANDARD_ERROR}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:  # the file belongs to another user
            return partial(_write_if_writable, os.dup(_STANDARD_ERROR))
        # It replaces the old descriptor, so that output of libraries cannot block either.
        os.dup2(opened, _STANDARD_ERROR)
        return lambda data: os.write(opened, data)
    own = os.dup(_STANDARD_ERROR)
    return lambda data: os.write(own, data)


def _write_if_writable(descriptor: int, data: bytes) -> int:
    """Writes at most `PIPE_BUF` bytes, for which a writable pipe has room."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    if not poll.poll(0):
        raise BlockingIOError
    return os.write(descriptor, data[: select.PIPE_BUF])
