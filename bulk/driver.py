"""The run: Ray reads the files and classifies their rows, and this process writes the outputs."""

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.data import ActorPoolStrategy, DataContext
from rich.console import Console

from bulk.inputs import Columns, Job
from bulk.output_folder import Output, Outputs
from bulk.results import Chunk, chunks_in
from bulk.worker import Classifier
from textfiles import InputError
from textfiles.command import stderr_hidden
from textfiles.progress import bytes_shown

_BLOCK_BYTES = 1 << 21
"""Of the chunks that go from a worker to this process together."""
_STORE_BYTES = 1 << 27
"""Of the shared memory for blocks, a worker, where the cluster is started here."""


@dataclass
class Totals:
    """What a run has done."""

    files: int = 0
    rows: int = 0
    rejected: int = 0
    failed: int = 0
    """Files that could not be read to their end, and have no output."""


@contextmanager
def cluster(address: str | None, workers: int | None, console: Console) -> Iterator[int]:
    """Connects to a Ray cluster, or starts one of this machine's processes, and gives the number of workers.

    Args:
        address: as `ray.init` takes it; None starts one.
        workers: None: one for each CPU, of this machine or of the cluster.

    Raises:
        ConnectionError: there is no cluster at the address.
        InputError: this is no address, or the cluster has too few CPUs.
    """
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    with stderr_hidden(), console.status("Starting Ray" if address is None else f"Connecting to {address}"):
        if address is None:
            workers = workers or len(os.sched_getaffinity(0))
            ray.init(
                "local",
                num_cpus=workers,  # no more than a number to Ray
                object_store_memory=_STORE_BYTES * (workers + 1),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
            )
        else:
            try:
                _check_reachable(address)
                ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL)
            except ConnectionError as error:
                raise ConnectionError(_reason(error)) from error
            except ValueError as error:
                raise InputError(f"--address: {error}") from error
    try:
        cpus = int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
        workers = workers or max(1, cpus)
        if workers > cpus:
            raise InputError(f"the cluster has {cpus} CPUs: --workers has to be no more")
        yield workers
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Tries a host and port: Ray would try for more than ten minutes."""
    host, _, port = address.rpartition(":")
    if port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except OSError as error:
            raise ConnectionError(f"no Ray cluster at {address}: {error}") from error


def _reason(error: ConnectionError) -> str:
    """Returns what Ray says, without the traceback in its cause."""
    if "InvalidAuthToken" in str(error.__cause__):
        return "the cluster asks for a token: RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH give it"
    return str(error)


def run(
    version: Path, jobs: Sequence[Job], columns: Columns, *, workers: int, outputs: Outputs, console: Console
) -> Totals:
    """Does the jobs on the cluster that this process is connected to. A file that cannot be read to its end is reported
    and has no output.

    Raises:
        ray.exceptions.RayError: a worker failed otherwise than by being killed.
    """
    totals = Totals()
    done = 0
    being_written: dict[int, Output] = {}
    files = "1 file" if len(jobs) == 1 else f"{len(jobs)} files"
    with bytes_shown(console, f"Classifying {files}", sum(job.size for job in jobs)) as progress:
        try:
            for chunk in _chunks(version, jobs, columns, workers):
                job = jobs[chunk.job]
                if chunk.number == 0:
                    being_written[chunk.job] = outputs.begin(job)
                output = being_written[chunk.job]
                output.write(chunk)
                if chunk.is_last:
                    line = _finished(outputs, output, chunk.error, totals)
                    console.print(line, markup=False, highlight=False, soft_wrap=True)
                    del being_written[chunk.job]
                    done += job.size
                progress(done + sum(output.position for output in being_written.values()))
            if being_written or totals.files + totals.failed < len(jobs):
                raise RuntimeError("Ray ended before the files did")
        finally:
            for output in being_written.values():
                output.close()
    return totals


def _finished(outputs: Outputs, output: Output, error: str, totals: Totals) -> str:
    """Publishes an output, or removes it if there is an error, and returns what to say of it."""
    if error:
        output.close()
        totals.failed += 1
        return f"{error}: no output is written"
    outputs.publish(output)
    totals.files += 1
    totals.rows += output.rows
    totals.rejected += output.rejected
    return f"{output.path}: {output.rows:,} rows, {output.rejected:,} rejected"


def _chunks(version: Path, jobs: Sequence[Job], columns: Columns, workers: int) -> Iterator[Chunk]:
    """Yields the chunks of all jobs, with their answers; those of a job in order, among those of others."""
    context = DataContext.get_current()
    context.target_max_block_size = _BLOCK_BYTES
    context.enable_progress_bars = False
    numbers = ray.data.from_items(list(range(len(jobs))), override_num_blocks=len(jobs))
    answered = numbers.map_batches(
        Classifier,
        fn_constructor_args=(version, jobs, columns),
        batch_size=None,
        batch_format="pyarrow",
        # A file at a time: none waits for another's worker while there is one without work.
        compute=ActorPoolStrategy(size=min(workers, len(jobs)), max_tasks_in_flight_per_actor=1),
    )
    for block in answered.iter_batches(batch_size=None, batch_format="pyarrow"):
        yield from chunks_in(block)
