"""The socket between the supervisor and one of its children.

The child sends lines, which say that it is ready, that it is alive, or why it failed. The supervisor sends a byte that
says whether the whole server serves. If one process dies, the other one reads the end of the stream. A child whose
supervisor has died stops.
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
    """The messages of a child, except failures."""

    READY = b"ready"
    """The child does its work."""
    BEAT = b"beat"
    """The main loop of the child runs."""
    LOADING = b"loading"
    """The main loop runs, and a model is being loaded, which may delay heartbeats."""


class Failure(NamedTuple):
    """Why a child cannot start."""

    reason: str
    permanent: bool
    """Whether a retry would fail too."""


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
        """Returns the messages since the last call; none if the child has ended."""
        try:
            self._received += self._socket.recv(65536)
        except (BlockingIOError, ConnectionResetError):
            return []
        *lines, self._received = self._received.split(b"\n")
        return [_message(line) for line in lines]

    def tell(self, serving: bool) -> None:
        """Tells the child whether the server serves. Does nothing if the child has ended."""
        with suppress(BlockingIOError, *_GONE):
            self._socket.send(_SERVING if serving else _NOT_SERVING)

    def close(self) -> None:
        """Closes this end. A child that still runs then stops."""
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
        """Reports that the child is ready."""
        self._send(Signal.READY.value)

    def beat(self, *, loading: bool = False) -> None:
        """Reports that the main loop runs."""
        self._send((Signal.LOADING if loading else Signal.BEAT).value, socket.MSG_DONTWAIT)

    def failed(self, reason: str, *, permanent: bool) -> None:
        """Reports why the child failed."""
        self._send(
            (_PERMANENT if permanent else _TEMPORARY) + " ".join(reason.split()).encode(errors="backslashreplace")
        )

    def _send(self, line: bytes, flags: int = 0) -> None:
        """Sends a line, unless the supervisor has ended."""
        with suppress(BlockingIOError, *_GONE):
            self._socket.sendmsg([line, b"\n"], [], flags)

    def close(self) -> None:
        """Closes this end, in the supervisor, which does not use it."""
        self._socket.close()

    def wait(self, interval: float) -> None:
        """Sends a heartbeat every `interval` seconds (0: only one) until the supervisor has ended."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while True:
            self.beat()
            if poll.poll(interval * 1000 or None) and not self._received():
                return

    def _received(self) -> bytes:
        """Returns the bytes that the supervisor sends; none if it has ended."""
        try:
            return self._socket.recv(64)
        except ConnectionResetError:  # the supervisor ended with unread lines
            return b""

    async def serving(self) -> AsyncIterator[bool]:
        """Yields whether the whole server serves, at each change, until the supervisor ends."""
        self._socket.setblocking(False)
        with suppress(ConnectionResetError):  # the supervisor ended with unread lines
            while received := await asyncio.get_running_loop().sock_recv(self._socket, 64):
                yield received[-1:] == _SERVING


def child_pipe() -> tuple[SupervisorEnd, ChildEnd]:
    """Makes the two ends."""
    supervisor, child = socket.socketpair()
    return SupervisorEnd(supervisor), ChildEnd(child)
