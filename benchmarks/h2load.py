"""Drives a gRPC server with h2load (Debian's nghttp2-client), which costs a fraction of what a Python client does.

One process a request body, so that different texts are in flight at the same time; h2load sends the same body over and
over. It sees HTTP only: that every answer is OK has to be read from the server's own metrics.
"""

import re
import resource
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

_HEADERS = ("content-type: application/grpc", "te: trailers")


@dataclass(frozen=True)
class Load:
    """What one run gave."""

    requests: int
    seconds: float
    cpu_seconds: float
    """What h2load itself used."""
    latencies_ms: tuple[float, ...]
    """Of single requests, rising; empty unless they were asked for."""

    @property
    def requests_per_second(self) -> float:
        """Throughput."""
        return self.requests / self.seconds

    def percentile_ms(self, percent: int) -> float:
        """Latency that `percent` of the requests stay under, in milliseconds."""
        return statistics.quantiles(self.latencies_ms, n=100)[percent - 1]


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
        method: its full name, `package.Service/Method`.
        bodies: framed request bodies.
        requests: how many in all.
        connections: of each process.
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
            command = ["h2load", "-n", str(each), "-c", str(connections), "-m", str(streams), "-d", str(data)]
            command += ["-W", "20", "-w", "20", "--log-file", str(log)]
            command += [part for header in _HEADERS for part in ("-H", header)]
            processes.append(
                subprocess.Popen([*command, f"http://{address}/{method}"], stdout=subprocess.PIPE, text=True)
            )
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
