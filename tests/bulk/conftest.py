import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from tests.server_process import ROOT


class Cluster(NamedTuple):
    """A Ray cluster of this machine's processes, with a CPU for each of two nodes."""

    address: str
    nodes: tuple[int, int]
    """The processes that the nodes' processes descend from."""


@pytest.fixture(scope="session", autouse=True)
def _token() -> Iterator[None]:
    """A token for the cluster. Ray reads once in a process whether there is one."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_AUTH_MODE", "token")
        environment.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        yield


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster in which two workers fit, one on each node."""
    folder = tempfile.mkdtemp(prefix="ray-")  # a short path: sockets have their names in it
    try:
        with node("--head", "--port=0", f"--temp-dir={folder}", "--include-dashboard=false") as head:
            assert head.stdout
            address = next(found[1] for line in head.stdout if (found := re.search(r"--address='(.*)'", line)))
            with node(f"--address={address}") as other:
                started(other)
                yield Cluster(address, (head.pid, other.pid))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def node(*arguments: str, within: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    """Starts a node by `ray start`, as an argument of the command `within`."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1", "--disable-usage-stats"]
    process = subprocess.Popen(
        [*within, *command, f"--object-store-memory={150 << 20}", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"},
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


def started(process: subprocess.Popen[str]) -> None:
    """Waits until a node has joined its cluster."""
    assert process.stdout
    assert any("Ray runtime started" in line for line in process.stdout)
