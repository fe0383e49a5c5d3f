"""Measures how many calls per second an overloaded server answers, and with what latency.

The load is open: calls are sent at a fixed rate, whatever happens to earlier ones, each with a deadline. The server has
one CPU and the load generator another, so that they do not compete. h2load sends the load. A gRPC client sends a few
further calls, the probes, to learn what h2load cannot see: whether a call was answered, and after how long.
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
from google.rpc import error_details_pb2, status_pb2
from matplotlib.figure import Figure

from benchmarks import h2load, service
from benchmarks.server import Server, serving
from benchmarks.texts import batches
from text_classifier.v1 import text_classifier_pb2 as pb2
from text_classifier.v1 import text_classifier_pb2_grpc as pb2_grpc

FACTORS = (0.5, 0.9, 1.0, 1.25, 2.0, 3.0)
"""Offered loads, as multiples of the throughput with `service.Case.in_flight` calls in a closed loop."""
SECONDS = 8
WARM_UP_SECONDS = 2
DEADLINE_SECONDS = 1
PROBES_A_SECOND = 50
CONNECTIONS = 2
"""Connections of each h2load process. 16 processes can have 3,200 calls in flight."""


@dataclass(frozen=True)
class Setting:
    """The requests and the transport."""

    case: service.Case
    transport: str

    @property
    def name(self) -> str:
        """The name in tables and plots."""
        return f"{self.case.name}, {self.transport}"


ONE = service.Case("unary, 1 text", 1, 1, 64, 16_000)
MANY = service.Case("unary, 64 texts", 64, 1, 64, 4_800)
SETTINGS = tuple(Setting(case, transport) for transport in ("native", "grpcio") for case in (ONE, MANY))


class Point(NamedTuple):
    """The result of one offered load."""

    factor: float
    offered: float
    """Calls per second."""
    answered: float
    """Calls per second that were answered OK within their deadline."""
    p50_ms: float | None
    """Latency of the answered probes, like the following field; None: there are none."""
    p99_ms: float | None
    refused: float
    """Share of the probes that were refused: RESOURCE_EXHAUSTED, or CANCELLED by grpcio."""
    retry_info: float
    """Share of the refused probes that got a `RetryInfo`."""
    refusal_p50_ms: float | None
    """Latency of the refused probes, like the following field; None: there are none."""
    refusal_p99_ms: float | None
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
    results: dict[str, list[Point]] = {}
    for setting in SETTINGS:
        with (
            _pinned(own),
            serving(models, "--transport", setting.transport) as server,
            _pinned(cpus - own),
        ):
            capacity = service.measure(server, texts, setting.case).requests_per_second
            results[setting.name] = []
            for factor in FACTORS:
                point = _offer(server, texts, setting.case, factor, capacity)
                print(setting.name, point, flush=True)
                results[setting.name].append(point)
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
        probes = asyncio.run(_probe(server.address, requests))
        answered = (server.answered("Classify") - before) / (perf_counter() - start)
    accepted = [probe.ms for probe in probes if probe.code is grpc.StatusCode.OK]
    refused = [probe for probe in probes if probe.code in _REFUSED]
    return Point(
        factor,
        offered.requests_per_second + PROBES_A_SECOND,
        answered,
        *_percentiles(accepted),
        len(refused) / len(probes),
        sum(probe.retry_info for probe in refused) / max(1, len(refused)),
        *_percentiles([probe.ms for probe in refused]),
        sum(probe.code is grpc.StatusCode.DEADLINE_EXCEEDED for probe in probes) / len(probes),
    )


class _Probe(NamedTuple):
    """The outcome of one call."""

    code: grpc.StatusCode
    ms: float
    retry_info: bool


_REFUSED = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED}


def _percentiles(latencies: Sequence[float]) -> tuple[float | None, float | None]:
    """Returns the median and the 99th percentile, if there are any."""
    ascending = sorted(latencies)
    if not ascending:
        return None, None
    return ascending[len(ascending) // 2], ascending[len(ascending) * 99 // 100]


def _has_retry_info(error: grpc.aio.AioRpcError) -> bool:
    status = status_pb2.Status.FromString(dict(error.trailing_metadata()).get("grpc-status-details-bin", b""))
    return any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)


async def _probe(address: str, requests: Sequence[pb2.ClassifyRequest]) -> list[_Probe]:
    """Calls at a fixed rate. Returns the outcome of each call."""
    probes: list[_Probe] = []

    async def call(request: pb2.ClassifyRequest) -> None:
        start = perf_counter()
        code, retry_info = grpc.StatusCode.OK, False
        try:
            await stub.Classify(request, timeout=DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            code, retry_info = error.code(), _has_retry_info(error)
        probes.append(_Probe(code, (perf_counter() - start) * 1000, retry_info))

    async with grpc.aio.insecure_channel(address) as channel:
        stub = pb2_grpc.TextClassifierStub(channel)
        start = perf_counter()
        async with asyncio.TaskGroup() as calls:
            for number, request in zip(range(SECONDS * PROBES_A_SECOND), itertools.cycle(requests), strict=False):
                await asyncio.sleep(start + number / PROBES_A_SECOND - perf_counter())
                calls.create_task(call(request))
    return probes


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
