"""A server under measurement, in its own processes: start time, CPU time and memory."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from benchmarks.processes import cpu_seconds, family


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[str]
    address: str
    start_seconds: float
    """Seconds from the start of its process until it served."""
    metrics_url: str = ""
    http_port: int = 0

    def processes(self) -> list[int]:
        """The ids of the server's process and of its descendants."""
        return family(self.process.pid)

    def cpu_seconds(self) -> float:
        """The CPU time of these processes so far, user and system."""
        return cpu_seconds(self.process.pid)

    def memory_mib(self) -> float:
        """The memory of these processes in MiB, with shared pages counted once (proportional set size)."""
        return self._proportional_mib("Pss")

    def own_memory_mib(self) -> float:
        """The same without mapped files, whose share depends on other programs."""
        return self._proportional_mib("Pss_Anon|Pss_Shmem")

    def _proportional_mib(self, fields: str) -> float:
        texts = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in self.processes())
        kibs = (re.findall(rf"^(?:{fields}):\s+(\d+)", text, re.MULTILINE) for text in texts)
        return sum(int(kib) for found in kibs for kib in found) / 1024

    def open_files(self) -> int:
        """The number of open file descriptors of these processes, including sockets."""
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in self.processes())

    def answered(self, method: str) -> int:
        """Number of calls of the method answered OK, from the server's metrics."""
        series = rf'^grpc_server_handled_total{{grpc_code="OK",grpc_method="{method}",.*}} (\S+)$'
        return int(sum(map(float, re.findall(series, self.metrics(), re.MULTILINE))))

    def metrics(self) -> str:
        """The server's metrics, as text."""
        with urllib.request.urlopen(self.metrics_url, timeout=30) as response:
            return str(response.read().decode())


@contextmanager
def empty_handler(workers: int) -> Iterator[Server]:
    """Runs the empty handler during the block."""
    start = perf_counter()
    command = [sys.executable, "-m", "benchmarks.empty_handler", str(workers)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        ports = [process.stderr.readline().split()[1] for _ in range(workers)]
        try:
            yield Server(process, f"127.0.0.1:{ports[0]}", perf_counter() - start)
        finally:
            process.send_signal(signal.SIGTERM)


@contextmanager
def serving(models: Path, *flags: str, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Runs this project's server during the block."""
    command = [sys.executable, "-m", "service", "--models", str(models), "--port", "0"]
    command += ["--http-port", "0", "--metrics-port", "0"]
    start = perf_counter()
    command += ["--log-format", "json", *flags]
    variables = {**os.environ, **(environment or {})}
    with subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        ports = {}
        for line in process.stderr:
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") in {"started", "metrics"}:
                ports[event["event"]] = event["port"]
                ports.setdefault("http", event.get("http_port", 0))
            if event.get("event") == "serving":
                break
        else:
            raise RuntimeError("the server did not start; run it by hand to see why")
        # The server would block if nobody read its log.
        reader = threading.Thread(target=deque, args=(process.stderr, 0))
        reader.start()
        try:
            yield Server(
                process,
                f"127.0.0.1:{ports['started']}",
                perf_counter() - start,
                f"http://127.0.0.1:{ports['metrics']}/metrics",
                ports["http"],
            )
        finally:
            process.send_signal(signal.SIGTERM)
            reader.join()
