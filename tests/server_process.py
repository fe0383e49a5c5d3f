"""Starts the real server in a process of its own and follows its log."""

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.fork_server import ForkedServer

ROOT = Path(__file__).parent.parent
UNPRIVILEGED = (
    ("setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all", "--")
    if os.geteuid() == 0
    else ()
)
"""The words to put before a command for file modes to count, which root may otherwise ignore."""
ENVIRONMENT = {
    "TEXT_CLASSIFIER_LOG_FORMAT": "json",
    "TEXT_CLASSIFIER_HEARTBEAT_TIMEOUT": "60",  # on a busy machine a process may well be late by more than the default
}
"""What a server is configured with, unless a test says otherwise."""


class ServerProcess:
    """A running server. Its log is read as it comes; waiting means waiting for an event of the log."""

    def __init__(
        self,
        models: Path,
        *flags: str,
        environment: dict[str, str] | None = None,
        run_by: Sequence[str] = (),
    ) -> None:
        arguments = ["--models", str(models), "--port", "0", "--http-port", "0", "--metrics-port", "0"]
        arguments += ["--require-model", "on", *flags]  # fail rather than wait
        variables = {**os.environ, **ENVIRONMENT, **(environment or {})}
        self.process: subprocess.Popen[bytes] | ForkedServer
        if environment or run_by not in ((), UNPRIVILEGED):  # the variables may be for the imports
            command = [*run_by, sys.executable, "-m", "service", *arguments]
            self.process = subprocess.Popen(command, cwd=ROOT, env=variables, stderr=subprocess.PIPE)
        else:
            self.process = ForkedServer(arguments, variables, tuple(run_by))
        self.log: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            with self._changed:
                # What a library prints is no JSON.
                self.log.append(
                    json.loads(line) if line.startswith(b"{") else {"event": "", "line": line.decode(errors="replace")}
                )
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def event(self, name: str, after: dict[str, Any] | None = None, **fields: object) -> dict[str, Any]:
        """Waits until the log has this event with these fields, after that other line, and returns its line."""

        def find() -> dict[str, Any] | None:
            start = next(number for number, line in enumerate(self.log) if line is after) + 1 if after else 0
            return next(
                (line for line in self.log[start:] if line["event"] == name and fields.items() <= line.items()), None
            )

        with self._changed:
            self._changed.wait_for(lambda: find() or self._ended, timeout=120)
            found = find()
        assert found, f"no {name!r} in the log: {self.log}"
        return found

    @property
    def address(self) -> str:
        """Host and port of gRPC."""
        started = self.event("started")
        return f"{started['host']}:{started['port']}"

    @property
    def http(self) -> str:
        """Host and port of HTTP."""
        return f"127.0.0.1:{self.event('started')['http_port']}"

    def metrics(self, token: str | None = None) -> str:
        """Reads /metrics."""
        endpoint = self.event("metrics")
        request = urllib.request.Request(f"http://{endpoint['host']}:{endpoint['port']}/metrics")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=60) as response:
            return str(response.read().decode())

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Waits for the end and returns the exit status."""
        status = self.process.wait(timeout=120)
        self._reader.join()
        return status


def wait_until_serving(address: str) -> None:
    """Waits until there is a server, or a proxy before one, that serves."""
    with grpc.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=120, wait_for_ready=True)
        while next(watch).status != health_pb2.HealthCheckResponse.SERVING:
            pass


@contextmanager
def serving(
    models: Path, *flags: str, environment: dict[str, str] | None = None, run_by: Sequence[str] = ()
) -> Iterator[ServerProcess]:
    """Runs a server around the block; it serves when the block begins, and must end well after it."""
    server = ServerProcess(models, *flags, environment=environment, run_by=run_by)
    try:
        server.event("serving")
        yield server
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    finally:
        server.process.kill()
        server.wait()
