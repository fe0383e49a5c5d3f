"""The Ray cluster: connects to one or starts one, and checks its machines."""

import logging
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.console import Console

from bulk.inputs import InputFile
from textfiles import InputError
from textmodel import ModelError, VersionFolder
from textmodel.metadata import Metadata
from textmodel.standard_error import stderr_hidden

_STORE_BYTES = 1 << 27
"""Shared memory for blocks, for each worker, in a cluster that is started here."""


@contextmanager
def cluster(address: str | None, workers: int | None, console: Console) -> Iterator[int]:
    """Connects to a Ray cluster, or starts one on this machine, and yields the number of workers.

    Args:
        address: an address for `ray.init`. None: starts a cluster.
        workers: number of workers. None: one for each CPU of this machine or of the cluster.
        console: shows a status while Ray starts.

    Raises:
        ConnectionError: there is no cluster at the address.
        InputError: the address is invalid, or the cluster has too few CPUs.
    """
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    with stderr_hidden(), console.status("Starting Ray" if address is None else f"Connecting to {address}"):
        if address is None:
            workers = workers or len(os.sched_getaffinity(0))
            _start(workers)
        else:
            _connect(address)
    try:
        cpus = int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
        workers = workers or max(1, cpus)
        if workers > cpus:
            raise InputError(f"--workers {workers} is more than the cluster's {cpus} CPUs")
        yield workers
    finally:
        ray.shutdown()


def _start(workers: int) -> None:
    ray.init(
        "local",
        num_cpus=workers,  # Ray does not compare it with the machine's CPUs
        object_store_memory=_STORE_BYTES * (workers + 1),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.CRITICAL,
    )


def _connect(address: str) -> None:
    try:
        _check_reachable(address)
        ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL)
    except ConnectionError as error:
        raise ConnectionError(_reason(error)) from error
    except ValueError as error:
        raise InputError(f"--address: {error}") from error


def _check_reachable(address: str) -> None:
    """Checks that a host and port accept a connection. Ray itself would retry for more than ten minutes."""
    host, _, port = address.rpartition(":")
    if port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except OSError as error:
            raise ConnectionError(f"no Ray cluster at {address}: {error}") from error


def _reason(error: ConnectionError) -> str:
    """Returns Ray's message, without the traceback of its cause."""
    if "InvalidAuthToken" in str(error.__cause__):
        return "the cluster requires a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
    return str(error)


def check_nodes(folder: VersionFolder, inputs: Iterable[InputFile]) -> None:
    """Checks that each machine of the connected cluster has this package, the version and the inputs.

    Raises:
        InputError: a machine lacks one of them.
    """
    arguments = folder.path, folder.metadata, {input_.file.path: input_.size for input_ in inputs}
    check = ray.remote(_first_mismatch)
    checks = [
        (
            node["NodeManagerAddress"],
            check.options(num_cpus=0, scheduling_strategy=_on(node["NodeID"])).remote(*arguments),
        )
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"] and node["Resources"].get("CPU")
    ]
    for address, answer in checks:
        try:
            mismatch = ray.get(answer)
        except RayError as error:
            mismatch = str(getattr(error, "cause", error))
        if mismatch:
            raise InputError(
                f"node {address}: {mismatch}: each machine of the cluster needs this package, and the model and the"
                " inputs at the same paths"
            )


def _on(node: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node, soft=False)


def _first_mismatch(version: Path, metadata: Metadata, sizes: Mapping[Path, int]) -> str:
    """Returns the first mismatch with the driver's files; empty if there is none."""
    try:
        if VersionFolder(version).metadata != metadata:
            return f"{version} is another version"
        for path, size in sizes.items():
            if path.stat().st_size != size:
                return f"{path} has another size"
    except ModelError as error:
        return str(error)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return ""
