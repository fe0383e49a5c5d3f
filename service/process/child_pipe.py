"""The socket between the supervisor and one of its children.

The child sends lines: that it is ready, that it cannot be, and heartbeats. The supervisor sends a byte that tells
whether the server as a whole serves. When either end dies, the other reads the end of the stream: a child without a
supervisor stops by itself.
"""

import asyncio
import enum
import select
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import NamedTuple

_SERVING = b"1"
_NOT_SERVING = b"0"
_GONE = (BrokenPipeError, ConnectionResetError)


class Signal(enum.Enum):
    """What a child sends beside a failure."""

    READY = b"ready"
    """It does its work."""
    BEAT = b"beat"
    """Its main loop runs."""
    LOADING = b"loading"
    """Its main loop runs, and a model is being loaded, which may hold it up."""


class Failure(NamedTuple):
    """Why a child cannot get ready."""

    reason: str
    permanent: bool
    """Whether another try is bound to fail too."""


_PERMANENT = b"cannot "
_TEMPORARY = b"failed "


class SupervisorEnd:
    """The supervisor's end."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._received = b""

    def fileno(self) -> int:
        """The descriptor, for a selector; -1 when it is closed."""
        return self._socket.fileno()

    def receive(self) -> list[Signal | Failure]:
        """Returns what the child has sent since the last time. A child that is gone has sent nothing."""
        try:
            self._received += self._socket.recv(65536)
        except (BlockingIOError, ConnectionResetError):
            return []
        *lines, self._received = self._received.split(b"\n")
        return [_message(line) for line in lines]

    def tell(self, serving: bool) -> None:
        """Tells the child whether the server serves. A child that is gone does not hear it."""
        with suppress(BlockingIOError, *_GONE):
            self._socket.send(_SERVING if serving else _NOT_SERVING)

    def close(self) -> None:
        """Closes this end: the child, if it still runs, stops."""
        self._socket.close()


def _message(line: bytes) -> Signal | Failure:
    for prefix in (_PERMANENT, _TEMPORARY):
        if line.startswith(prefix):
            return Failure(line.removeprefix(prefix).decode(), permanent=prefix == _PERMANENT)
    return Signal(line)


class ChildEnd:
    """The child's end."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def ready(self) -> None:
        """Says that the child does its work."""
        self._send(Signal.READY.value)

    def beat(self, *, loading: bool = False) -> None:
        """Says that the main loop runs."""
        self._send((Signal.LOADING if loading else Signal.BEAT).value, socket.MSG_DONTWAIT)

    def failed(self, reason: str, *, permanent: bool) -> None:
        """Says that the child cannot do its work, and why."""
        self._send(
            (_PERMANENT if permanent else _TEMPORARY) + " ".join(reason.split()).encode(errors="backslashreplace")
        )

    def _send(self, line: bytes, flags: int = 0) -> None:
        """Sends a line, unless the supervisor is gone."""
        with suppress(BlockingIOError, *_GONE):
            self._socket.sendmsg([line, b"\n"], [], flags)

    def close(self) -> None:
        """Closes this end, in the process that it is not for."""
        self._socket.close()

    def wait(self, interval: float) -> None:
        """Returns when the supervisor is gone. Until then sends a heartbeat every so many seconds; 0: none."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while True:
            self.beat()
            if poll.poll(interval * 1000 or None) and not self._received():
                return

    def _received(self) -> bytes:
        """Returns what the supervisor sends; nothing if it is gone."""
        try:
            return self._socket.recv(64)
        except ConnectionResetError:  # it left a line unread
            return b""

    async def serving(self) -> AsyncIterator[bool]:
        """Yields whether the server as a whole serves, at each change, until the supervisor is gone."""
        self._socket.setblocking(False)
        while received := await asyncio.get_running_loop().sock_recv(self._socket, 64):
            yield received[-1:] == _SERVING


def child_pipe() -> tuple[SupervisorEnd, ChildEnd]:
    """Makes the two ends."""
    supervisor, child = socket.socketpair()
    return SupervisorEnd(supervisor), ChildEnd(child)
