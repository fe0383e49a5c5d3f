"""Starts servers by forking a process that has imported their modules, which takes half of the CPU time of a start.

As a program, with a socket's number: that process. Each message on the socket is a server's arguments and environment
as JSON, with two file descriptors: its standard error, and where its id and its exit status are written.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_NUMBER_BYTES = 8


class ForkedServer:
    """A server that was forked, with the methods of `subprocess.Popen` that tests call."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], run_by: tuple[str, ...] = ()) -> None:
        stderr, server_stderr = os.pipe()
        self._results, server_results = os.pipe()
        request = json.dumps([arguments, dict(environment)]).encode()
        socket.send_fds(_fork_server(run_by), [request], [server_stderr, server_results])
        os.close(server_stderr)
        os.close(server_results)
        self.stderr = os.fdopen(stderr, "rb")
        self.pid = self._next_number()
        self._status: int | None = None

    def send_signal(self, number: signal.Signals) -> None:
        if self._status is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float) -> int:
        """Waits for the end and returns the exit status, or minus the number of the signal that ended it."""
        if self._status is None:
            if not select.select([self._results], [], [], timeout)[0]:
                raise TimeoutError(f"the server has not ended after {timeout} s")
            self._status = self._next_number()
            os.close(self._results)
        return self._status

    def _next_number(self) -> int:
        number = os.read(self._results, _NUMBER_BYTES)
        assert number, "the fork server has failed"
        return int.from_bytes(number, signed=True)


_processes: dict[tuple[str, ...], subprocess.Popen[bytes]] = {}
"""Those that fork. Their end needs no waiting for."""


@cache
def _fork_server(run_by: tuple[str, ...]) -> socket.socket:
    """Starts the process that forks, once for a worker of the tests. It ends when this process does.

    Args:
        run_by: the words before its command, which change what it and its servers may do.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        _processes[run_by] = subprocess.Popen(
            [*run_by, sys.executable, "-m", "tests.fork_server", str(theirs.fileno())],
            cwd=_ROOT,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # as the server's command sets it before its imports
            pass_fds=[theirs.fileno()],
        )
    return ours


def _serve_requests(requests: socket.socket) -> None:
    while True:
        message, (*descriptors,), *_ = socket.recv_fds(requests, 1 << 18, 2)
        if not message:
            return
        if os.fork() == 0:
            requests.close()
            _run(*json.loads(message), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _run(arguments: list[str], environment: dict[str, str], stderr: int, results: int) -> None:
    """Runs a server, in a process of its own, and tells its id and its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid:
        os.close(stderr)
        os.write(results, pid.to_bytes(_NUMBER_BYTES, signed=True))
        _, status = os.waitpid(pid, 0)
        os.write(results, os.waitstatus_to_exitcode(status).to_bytes(_NUMBER_BYTES, signed=True))
        os._exit(0)
    os.dup2(stderr, 2)
    os.close(stderr)
    os.close(results)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["text-classifier-server", *arguments]
    from service.cli import main  # noqa: PLC0415

    sys.exit(main())


if __name__ == "__main__":
    import service.process.start  # noqa: F401, for the processes that are forked

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the processes that wait for the servers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from a terminal it reaches all processes
    _serve_requests(socket.socket(fileno=int(sys.argv[1])))
