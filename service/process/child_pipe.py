"""The socket between the supervisor and one of its children.

From the child comes one line, when it is ready or cannot be; to it goes a byte, whether the server as a whole serves.
When either end dies the other reads the end of the stream: a child whose supervisor has gone stops by itself.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import NamedTuple

_READY = b"ready\n"
_SERVING = b"1"
_NOT_SERVING = b"0"


class Failure(NamedTuple):
    """Why a child cannot get ready."""

    reason: str


class SupervisorEnd:
    """The supervisor's end."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._received = b""

    def fileno(self) -> int:
        """The descriptor, for a selector."""
        return self._socket.fileno()

    def receive(self) -> Failure | bool | None:
        """Reads what there is: True when the child is ready, a `Failure`, None when it is neither yet or has gone."""
        try:
            self._received += self._socket.recv(65536)
        except (BlockingIOError, ConnectionResetError):
            return None
        if not self._received.endswith(b"\n"):
            return None
        line, self._received = self._received, b""
        return True if line == _READY else Failure(line.decode().strip())

    def tell(self, serving: bool) -> None:
        """Tells the child whether the server serves. A child that has gone does not hear it."""
        try:
            self._socket.send(_SERVING if serving else _NOT_SERVING)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            return

    def close(self) -> None:
        """Closes this end: the child, if it still runs, stops."""
        self._socket.close()


class ChildEnd:
    """The child's end."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def ready(self) -> None:
        """Says that the child does its work."""
        self._socket.sendall(_READY)

    def failed(self, reason: str) -> None:
        """Says that it cannot, and why."""
        self._socket.sendall(" ".join(reason.split()).encode() + b"\n")

    def close(self) -> None:
        """Closes this end, in the process that it is not for."""
        self._socket.close()

    def wait(self) -> None:
        """Returns when the supervisor has gone."""
        while self._socket.recv(64):
            pass

    async def serving(self) -> AsyncIterator[bool]:
        """Yields whether the server as a whole serves, at each change, until the supervisor has gone."""
        self._socket.setblocking(False)
        while said := await asyncio.get_running_loop().sock_recv(self._socket, 64):
            yield said[-1:] == _SERVING


def lifeline() -> tuple[SupervisorEnd, ChildEnd]:
    """Makes the two ends."""
    supervisor, child = socket.socketpair()
    return SupervisorEnd(supervisor), ChildEnd(child)
