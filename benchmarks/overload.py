"""Overload: how many calls per second the server still answers, and with what latency.

The load is open: calls leave at a fixed rate, whatever becomes of those before, each with a deadline. The server has
one CPU and the load another, so that the load does not take what it measures. h2load sends it; a gRPC client beside it
sends a few calls more, which find out what h2load cannot see: whether a call was answered, and after how long.
"""

import asyncio
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import grpc
import grpc.aio
from matplotlib.figure import Figure

from benchmarks import h2load, service
from benchmarks.server import Server, serving
from benchmarks.texts import batches
from text_classifier.v1 import text_classifier_pb2 as pb2
from text_classifier.v1 import text_classifier_pb2_grpc as pb2_grpc

FACTORS = (0.5, 0.75, 0.9, 1.0, 1.25, 1.5, 2.0, 3.0)
"""Offered loads, as multiples of the throughput with `service.Case.in_flight` calls in a closed loop."""
SECONDS = 8
WARM_UP_SECONDS = 2
DEADLINE_SECONDS = 1
PROBES_A_SECOND = 50
CONNECTIONS = 2
"""Connections of each h2load process. 16 processes can have 3,200 calls in flight."""


@dataclass(frozen=True)
class Setting:
    """The requests, and the number of calls that may wait for a worker."""

    case: service.Case
    max_pending_calls: int

    @property
    def name(self) -> str:
        """For tables and plots."""
        return f"{self.case.name}, --max-pending-calls {self.max_pending_calls}"


ONE = service.Case("unary, 1 text", 1, 1, 64, 16_000)
MANY = service.Case("unary, 64 texts", 64, 1, 64, 4_800)
SETTINGS = (Setting(ONE, 100), Setting(ONE, 1000), Setting(MANY, 100))
"""100 is the default, 1,000 gRPC's own."""


class Point(NamedTuple):
    """The result of one offered load."""

    factor: float
    offered: float
    """Calls per second."""
    answered: float
    """Calls per second that were answered OK within their deadline."""
    p50_ms: float
    """Latency of the answered probes, like the following fields."""
    p99_ms: float
    turned_away: float
    """Share of the probes that were cancelled at once."""
    late: float
    """Share of the probes whose deadline passed."""


def measure(models: Path, texts: Sequence[str]) -> dict[str, list[Point]]:
    """Measures each setting at each load. Needs two CPUs.

    Args:
        models: folder with the model imdb.
        texts: reviews, 1,024 or more.
    """
    cpus = os.sched_getaffinity(0)
    own = {min(cpus)}
    results = {}
    for setting in SETTINGS:
        with (
            _pinned(own),
            serving(models, "--max-pending-calls", str(setting.max_pending_calls)) as server,
            _pinned(cpus - own),
        ):
            capacity = service.measure(server, texts, setting.case).requests_per_second
            results[setting.name] = [_offer(server, texts, setting.case, factor, capacity) for factor in FACTORS]
    return results


@contextmanager
def _pinned(cpus: set[int]) -> Iterator[None]:
    """Pins the block, and the processes that it starts, to these CPUs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _offer(server: Server, texts: Sequence[str], case: service.Case, factor: float, capacity: float) -> Point:
    rate = factor * capacity
    bodies = service.bodies(texts, case, service.CLASSIFY)
    requests = [pb2.ClassifyRequest(model="imdb", texts=batch) for batch in batches(list(texts), case.texts)]
    with h2load.offering(
        server.address,
        service.CLASSIFY.method,
        bodies,
        rate=rate - PROBES_A_SECOND,
        seconds=WARM_UP_SECONDS + SECONDS + DEADLINE_SECONDS,
        connections=CONNECTIONS,
        timeout_seconds=DEADLINE_SECONDS,
    ) as offered:
        asyncio.run(asyncio.sleep(WARM_UP_SECONDS))
        start, before = perf_counter(), server.answered("Classify")
        codes, latencies = asyncio.run(_probe(server.address, requests))
        answered = (server.answered("Classify") - before) / (perf_counter() - start)
    return Point(
        factor,
        offered.requests_per_second + PROBES_A_SECOND,
        answered,
        latencies[len(latencies) // 2],
        latencies[len(latencies) * 99 // 100],
        codes.count(grpc.StatusCode.CANCELLED) / len(codes),
        codes.count(grpc.StatusCode.DEADLINE_EXCEEDED) / len(codes),
    )


async def _probe(address: str, requests: Sequence[pb2.ClassifyRequest]) -> tuple[list[grpc.StatusCode], list[float]]:
    """Calls at a fixed rate. Returns the status of each call, and the latencies of answered calls in ms, ascending."""
    codes: list[grpc.StatusCode] = []
    latencies: list[float] = []

    async def call(request: pb2.ClassifyRequest) -> None:
        start = perf_counter()
        try:
            await stub.Classify(request, timeout=DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            codes.append(error.code())
        else:
            codes.append(grpc.StatusCode.OK)
            latencies.append((perf_counter() - start) * 1000)

    async with grpc.aio.insecure_channel(address) as channel:
        stub = pb2_grpc.TextClassifierStub(channel)
        start = perf_counter()
        async with asyncio.TaskGroup() as calls:
            for number, request in zip(range(SECONDS * PROBES_A_SECOND), itertools.cycle(requests), strict=False):
                await asyncio.sleep(start + number / PROBES_A_SECOND - perf_counter())
                calls.create_task(call(request))
    return codes, sorted(latencies)


def plot(results: Mapping[str, Sequence[Point]], path: Path) -> None:
    """Plots goodput and latency against the offered load into one PNG."""
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    goodput, latency = figure.subplots(1, 2)
    for name, points in results.items():
        peak = max(point.answered for point in points)
        factors = [point.factor for point in points]
        (line,) = goodput.plot(factors, [100 * point.answered / peak for point in points], "o-", label=name)
        latency.semilogy(factors, [point.p50_ms for point in points], "o-", color=line.get_color(), label="median")
        latency.semilogy(factors, [point.p99_ms for point in points], "o:", color=line.get_color(), label="99%")
    goodput.axhline(90, color="grey", linewidth=1)
    goodput.set(title="Answered within the deadline", ylabel="% of the peak", ylim=(0, 110))
    latency.set(title="Latency of what was answered (99%: dotted)", ylabel="ms")
    latency.yaxis.set_major_formatter("{x:,g}")
    for axes in (goodput, latency):
        axes.set_xlabel("offered load, multiples of what is sustainable")
        axes.grid(alpha=0.3)
    goodput.legend(loc="lower right")
    figure.savefig(path, dpi=150)
