"""Drives a gRPC server with h2load (Debian package nghttp2-client), which needs far less CPU than a Python client.

Each process sends one request body again and again, so several processes have different texts in flight. h2load sees
only HTTP: whether every answer is OK must be read from the server's metrics.
"""

import re
import resource
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

_HEADERS = ("content-type: application/grpc", "te: trailers")


@dataclass(frozen=True)
class Load:
    """The result of a run."""

    requests: int
    seconds: float
    cpu_seconds: float
    """CPU time of h2load itself."""
    latencies_ms: tuple[float, ...]
    """Latencies of single requests, ascending; empty unless requested."""

    @property
    def requests_per_second(self) -> float:
        """Throughput."""
        return self.requests / self.seconds


def frame(messages: Sequence[bytes]) -> bytes:
    """Frames serialized messages as gRPC does: a zero byte, the length as 4 bytes, the message."""
    return b"".join(b"\0" + len(message).to_bytes(4, "big") + message for message in messages)


def run(
    address: str,
    method: str,
    bodies: Sequence[bytes],
    *,
    requests: int,
    connections: int,
    streams: int = 1,
) -> Load:
    """Sends requests from one h2load process for each body, all at the same time.

    Args:
        address: host:port.
        method: the full name of the method, `package.Service/Method`.
        bodies: framed request bodies.
        requests: total number of requests.
        connections: number of connections of each process.
        streams: requests in flight on each connection.

    Raises:
        RuntimeError: a request failed on the way.
    """
    each = requests // len(bodies)
    with tempfile.TemporaryDirectory() as folder:
        processes = []
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = perf_counter()
        for number, body in enumerate(bodies):
            data, log = Path(folder, f"{number}.body"), Path(folder, f"{number}.log")
            data.write_bytes(body)
            options = ["-n", str(each), "-c", str(connections), "-m", str(streams), "--log-file", str(log)]
            processes.append(_start(address, method, data, options))
        outputs = [process.communicate()[0] for process in processes]
        seconds = perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        latencies = []
        for number, output in enumerate(outputs):
            succeeded = re.search(r"(\d+) succeeded", output)
            if not succeeded or int(succeeded[1]) != each:
                raise RuntimeError(f"h2load: not every request came back: {output}")
            # Each line: start, HTTP status, microseconds.
            lines = Path(folder, f"{number}.log").read_text().splitlines()
            latencies += [int(line.split("\t")[2]) / 1000 for line in lines]
    cpu = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    return Load(each * len(bodies), seconds, cpu, tuple(sorted(latencies)))


@dataclass
class Offered:
    """The number of requests that were sent at a fixed rate, known after the end."""

    requests_per_second: float = 0.0


@contextmanager
def offering(
    address: str,
    method: str,
    bodies: Sequence[bytes],
    *,
    rate: float,
    seconds: int,
    connections: int,
    timeout_seconds: int,
) -> Iterator[Offered]:
    """Sends requests at a fixed rate during the block, whatever the answers.

    h2load has the lowest priority: another client that measures latency does not wait for its CPU.

    Args:
        address: host:port.
        method: the full name of the method, `package.Service/Method`.
        bodies: framed request bodies, with an h2load process for each.
        rate: total number of requests per second.
        seconds: duration; the block should take less.
        connections: number of connections of each process, each with as many requests in flight as the server allows.
        timeout_seconds: the deadline of each request, which is sent to the server.
    """
    offered = Offered()
    each = rate / len(bodies) / connections
    with tempfile.TemporaryDirectory() as folder:
        processes = []
        for number, body in enumerate(bodies):
            data = Path(folder, f"{number}.body")
            data.write_bytes(body)
            options = ["-D", str(seconds), "--rps", str(each), "-c", str(connections), "-m", "1000"]
            options += ["-H", f"grpc-timeout: {timeout_seconds}S"]
            processes.append(_start(address, method, data, options, run_by=("nice", "-n", "19")))
        yield offered
        for output in [process.communicate()[0] for process in processes]:
            started = re.search(r"(\d+) started", output)
            if not started:
                raise RuntimeError(f"h2load: it did not run: {output}")
            offered.requests_per_second += int(started[1]) / seconds


def _start(
    address: str, method: str, data: Path, options: Sequence[str], run_by: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """Starts an h2load that sends one body. Its windows are wide: 1 MiB for a stream and for a connection."""
    headers = [part for header in _HEADERS for part in ("-H", header)]
    command = ["h2load", *options, "-W", "20", "-w", "20", "-d", str(data), *headers, f"http://{address}/{method}"]
    return subprocess.Popen([*run_by, *command], stdout=subprocess.PIPE, text=True)
