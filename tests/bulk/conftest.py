import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

import pytest

from tests.server_process import ROOT


class Cluster(NamedTuple):
    """A Ray cluster of this machine's processes, with a CPU for each of two nodes."""

    address: str
    nodes: tuple[int, int]
    """The processes that the nodes' processes descend from."""


PATIENCE = {
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_health_check_timeout_ms": "60000",
    "RAY_memory_monitor_refresh_ms": "0",  # other programs may use up the machine's memory: kill no worker for it
}
"""Ray's settings for a busy machine."""


@pytest.fixture(scope="session", autouse=True)
def _environment() -> Iterator[None]:
    """A token for the cluster, and patience. Ray reads once in a process whether there is a token."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_AUTH_MODE", "token")
        environment.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        for name, value in PATIENCE.items():
            environment.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster in which two workers fit, one on each node. It ends with its module: its processes work while idle."""
    folder = tempfile.mkdtemp(prefix="ray-")  # a short path: sockets have their names in it
    try:
        client_server = f"--ray-client-server-port={_free_port()}"
        idle = ("--include-dashboard=false", "--no-monitor")  # nothing here asks a dashboard, or for more machines
        with node("--head", "--port=0", client_server, f"--temp-dir={folder}", *idle) as head:
            assert head.stdout
            address = next(found[1] for line in head.stdout if (found := re.search(r"--address='(.*)'", line)))
            with node(f"--address={address}") as other:
                started(other)
                yield Cluster(address, (head.pid, other.pid))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    """Returns a port below those that the system gives to whoever asks for any, which it could do before Ray starts."""
    first = 10_000 + os.getpid() % 20_000
    for port in range(first, first + 100):
        with socket.socket() as here, suppress(OSError):
            here.bind(("", port))
            return port
    raise AssertionError("no port is free")


@contextmanager
def node(*arguments: str, within: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    """Starts a node by `ray start`, as an argument of the command `within`. It uses no fixed port, so that clusters of
    other checkouts may run on this machine.
    """
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1", "--disable-usage-stats"]
    command += ["--include-log-monitor=false"]  # it would only send the workers' output to drivers that ask for it
    ports = [f"--{name}-port=0" for name in ("min-worker", "max-worker", "dashboard-agent-listen")]
    process = subprocess.Popen(
        [*within, *command, *ports, f"--object-store-memory={150 << 20}", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"},
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=120)


def started(process: subprocess.Popen[str]) -> None:
    """Waits until a node has joined its cluster."""
    assert process.stdout
    assert any("Ray runtime started" in line for line in process.stdout)
