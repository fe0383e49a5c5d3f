"""Runs the server for minutes while clients come and go and versions are written and removed, to find leaks.

In each round, clients make valid and invalid calls in many ways, a new version is written, and the oldest is removed.
Then all clients disconnect, and the memory and open files of the server's processes are sampled. Both must stay flat.
"""

import argparse
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any, NamedTuple

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from matplotlib.figure import Figure

from benchmarks.server import Server, serving
from text_classifier import Client
from textmodel.version_folder import new_version, versions

MODEL = "imdb"
CALLERS = 8
ROUND_SECONDS = 10
REST_SECONDS = 1
"""Time for the server to notice closed connections."""
KEPT = 2
"""Number of versions that stay in the folder."""
WARM_UP = 1 / 3
"""Share of the rounds that is ignored, while allocators and caches fill."""
MOST_GROWTH = 0.02
"""Memory is flat if the fitted line after the warm-up rises by less than this share of the mean."""
MOST_FILES = 1
"""Open files are flat if their fitted line rises by less than this number."""
TEXTS = ["A moving, beautifully shot film.", "Dull.", "", "Ünïcode 😀 " * 50]


class Sample(NamedTuple):
    """The resources of the server's processes at rest, after a round."""

    minutes: float
    memory: float
    """MiB, without mapped files."""
    files: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command. Returns 0 if memory and open files stayed flat and no call failed unexpectedly, otherwise 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long (default: %(default)s)")
    parser.add_argument("--models", type=Path, default=Path("models"), help="whose newest imdb is served")
    parser.add_argument("--plot", type=Path, default=Path("benchmarks/results/soak.png"), help="where the plot goes")
    options = parser.parse_args(arguments)

    outcomes: Counter[str] = Counter()
    with TemporaryDirectory() as temporary:
        models = Path(temporary)
        source = options.models / MODEL / str(versions(options.models / MODEL)[-1])
        write_version(source, models)
        with serving(models) as server, log_read(server):
            samples = list(rounds(server, source, models, options.minutes, outcomes))
            with Client(server.address) as client:
                served = client.model(MODEL).version
    written = len(samples) + 1
    print(f"{written} versions written, the server serves version {served}; calls: {dict(outcomes)}")
    plot(samples, options.plot)
    return 0 if verdict(samples) and not outcomes["failed"] else 1


def rounds(server: Server, source: Path, models: Path, minutes: float, outcomes: Counter[str]) -> Iterator[Sample]:
    """Yields a sample after each round, for this number of minutes."""
    start = monotonic()
    while monotonic() < start + 60 * minutes:
        stop = threading.Event()
        with ThreadPoolExecutor(CALLERS) as pool:
            callers = [pool.submit(churn, server.address, number, stop) for number in range(CALLERS)]
            write_version(source, models)
            for version in versions(models / MODEL)[:-KEPT]:
                shutil.rmtree(models / MODEL / str(version))
            sleep(ROUND_SECONDS)
            stop.set()
            for caller in callers:
                outcomes += caller.result()
        sleep(REST_SECONDS)
        sample = Sample((monotonic() - start) / 60, server.own_memory_mib(), server.open_files())
        print(f"{sample.minutes:5.1f} min  {sample.memory:6.1f} MiB  {sample.files} open files", flush=True)
        yield sample


def write_version(source: Path, models: Path) -> None:
    """Writes a copy of a version folder as the next version."""
    with new_version(models, MODEL) as folder:
        shutil.copytree(source, folder.path, dirs_exist_ok=True)


def churn(address: str, number: int, stop: threading.Event) -> Counter[str]:
    """Calls in each of several ways, each with a new client, and counts how the calls ended."""
    outcomes: Counter[str] = Counter()
    ways: list[Callable[[Client], object]] = [
        lambda client: [client.classify(TEXTS, model=MODEL, top_k=2) for _ in range(20)],
        lambda client: list(client.classify_stream(TEXTS * 20, model=MODEL)),
        lambda client: next(client.classify_stream(TEXTS * 1000, model=MODEL)),  # ended after the first answer
        lambda client: client.classify(TEXTS * 200, model=MODEL, timeout=0.001),
        lambda client: client.classify(TEXTS, model="nobody"),
        lambda client: client.models(),
        lambda client: check_health(address),
    ]
    expected = {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.NOT_FOUND}
    while not stop.is_set():
        number += 1
        with Client(address) as client:
            try:
                ways[number % len(ways)](client)
                outcomes["answered"] += 1
            except grpc.RpcError as error:
                outcomes[error.code().name if error.code() in expected else "failed"] += 1
    return outcomes


def check_health(address: str) -> None:
    """Checks health over a connection of its own."""
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        health.Check(health_pb2.HealthCheckRequest(), timeout=10)


def verdict(samples: Sequence[Sample]) -> bool:
    """Prints how memory and open files grew after the warm-up. Returns whether both were flat."""
    judged = samples[int(len(samples) * WARM_UP) :]
    if len(judged) < 3:
        print("too short to judge")
        return False
    minutes, memory, files = (np.array(column) for column in zip(*judged, strict=True))
    window = minutes[-1] - minutes[0]
    memory_slope, files_slope = (float(np.polyfit(minutes, column, 1)[0]) for column in (memory, files))
    flat = bool(memory_slope * window < MOST_GROWTH * memory.mean() and files_slope * window < MOST_FILES)
    print(
        f"{'flat' if flat else 'NOT FLAT'}: over the last {window:.1f} minutes memory grew by"
        f" {memory_slope * window:+.2f} MiB of {memory.mean():.1f} ({60 * memory_slope:+.1f} MiB/h), open files by"
        f" {files_slope * window:+.2f} of {files.mean():.1f}"
    )
    return flat


def plot(samples: Sequence[Sample], path: Path) -> None:
    """Plots memory and open files over time into a PNG."""
    figure = Figure(figsize=(10, 6), layout="constrained")
    minutes, memory, files = zip(*samples, strict=True)
    for axes, column, label in zip(
        figure.subplots(2, sharex=True), (memory, files), ("memory, MiB", "open files"), strict=True
    ):
        axes.plot(minutes, column, ".-")
        axes.axvspan(0, minutes[int(len(samples) * WARM_UP)], alpha=0.15, label="warm-up, not judged")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
    axes.set_xlabel("minutes")
    figure.suptitle(f"All processes of the server, at rest after each {ROUND_SECONDS} s with {CALLERS} clients")
    figure.savefig(path, dpi=150)


@contextmanager
def log_read(server: Server) -> Iterator[None]:
    """Reads the server's log during the block, so that its pipe never fills."""

    def read() -> None:
        assert server.process.stderr
        with suppress(ValueError):  # closed
            for _ in server.process.stderr:
                pass

    threading.Thread(target=read, daemon=True).start()
    yield


if __name__ == "__main__":
    sys.exit(main())
