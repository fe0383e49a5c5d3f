"""The run: Ray reads the files and classifies their rows, and this process writes the outputs."""

import itertools
import logging
import math
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, ExecutionOptions
from rich.console import Console

from bulk.chunks import Chunk, chunks_in, table
from bulk.classifier import Classifier
from bulk.jobs import Columns, Job
from bulk.outputs import Outputs
from bulk.reading import chunks
from textfiles import InputError
from textfiles.command import stderr_hidden
from textfiles.progress import bytes_shown

_READER_CPUS = 0.5
"""Of Ray's CPUs. Less than a worker's: Ray would else let the workers read too, and a large file have one of them."""
_BLOCK_BYTES = 1 << 22
"""Of the chunks that go from one process to the next together."""
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
def cluster(address: str | None, workers: int | None) -> Iterator[int]:
    """Connects to a Ray cluster, or starts one of this machine's processes, and gives the number of workers.

    Args:
        address: as `ray.init` takes it; None starts one.
        workers: None: one for each CPU of this machine, or for two of three CPUs of the cluster.

    Raises:
        ConnectionError: there is no cluster at the address.
        InputError: this is no address, or the cluster has too few CPUs.
    """
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    with stderr_hidden():
        if address is None:
            workers = workers or len(os.sched_getaffinity(0))
            ray.init(
                "local",
                num_cpus=workers + math.ceil(workers * _READER_CPUS),  # no more than numbers to Ray
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
                raise ConnectionError(f"{error}: {error.__cause__}") from error
            except ValueError as error:
                raise InputError(f"--address: {error}") from error
    try:
        cpus = int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
        workers = workers or max(1, int(cpus / (1 + _READER_CPUS)))
        if workers >= cpus:
            raise InputError(f"the cluster has {cpus} CPUs: --workers has to be less, so that one is left to read")
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
            raise ConnectionError(f"no Ray cluster at {address}") from error


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
    with bytes_shown(console, f"Classifying {len(jobs)} files", sum(job.size for job in jobs)) as progress:
        for number, parts in itertools.groupby(_chunks(version, jobs, columns, workers), lambda chunk: chunk.job):
            job = jobs[number]
            try:
                with outputs.writing(job) as output:
                    for chunk in parts:
                        if chunk.error:
                            raise InputError(chunk.error)
                        output.write(chunk)
                        progress(done + chunk.position)
            except InputError as error:
                totals.failed += 1
                line = f"{error}: no output is written"
            else:
                totals.files += 1
                totals.rows += output.rows
                totals.rejected += output.rejected
                line = f"{outputs.folder / job.output}: {output.rows:,} rows, {output.rejected:,} rejected"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
            done += job.size
            progress(done)
    return totals


def _chunks(version: Path, jobs: Sequence[Job], columns: Columns, workers: int) -> Iterator[Chunk]:
    """Yields the chunks of all jobs, with their answers, in order."""
    context = DataContext.get_current()
    context.execution_options = ExecutionOptions(preserve_order=True)
    context.target_max_block_size = _BLOCK_BYTES
    context.enable_progress_bars = False

    def read(numbers: pa.Table) -> Iterator[pa.Table]:
        (number,) = numbers["item"].to_pylist()
        for chunk in chunks(number, jobs[number], columns):
            yield table([chunk])

    numbers = ray.data.from_items(list(range(len(jobs))), override_num_blocks=len(jobs))
    read_rows = numbers.map_batches(read, batch_size=1, batch_format="pyarrow", num_cpus=_READER_CPUS)
    answered = read_rows.map_batches(
        Classifier,
        fn_constructor_args=(version, jobs, columns),
        batch_size=None,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=workers),
    )
    for block in answered.iter_batches(batch_size=None, batch_format="pyarrow"):
        yield from chunks_in(block)
