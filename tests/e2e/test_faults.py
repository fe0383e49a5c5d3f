"""Harm done for real to running servers, while the shipped clients call them: no call may fail."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from tests.mounts import with_mounts
from tests.server_process import ROOT, ServerProcess, serving
from text_classifier import AsyncClient, Client

CALLERS = 4
CALLS = 100
WORKERS = ("--workers", "2")


class Load:
    """What callers count."""

    def __init__(self) -> None:
        self.answered = 0
        self.failures: list[grpc.RpcError] = []
        self.stopping = False
        self._changed = threading.Condition()

    def count(self, failure: grpc.RpcError | None = None) -> None:
        """Counts a call that has ended."""
        with self._changed:
            if failure:
                self.failures.append(failure)
            else:
                self.answered += 1
            self._changed.notify_all()

    def go_on(self) -> None:
        """Waits until each caller's calls of now have ended and some more are answered, or one has failed."""
        with self._changed:
            enough = self.answered + CALLS
            assert self._changed.wait_for(lambda: self.failures or self.answered >= enough, timeout=120)
        assert self.failures == []


def threads(target: str, load: Load) -> None:
    def call(client: Client) -> None:
        while not load.stopping:
            try:
                client.classify(["film"], model="topic", timeout=60)
                load.count()
            except grpc.RpcError as error:
                load.count(error)

    with Client(target) as client:
        callers = [threading.Thread(target=call, args=(client,)) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()


def tasks(target: str, load: Load) -> None:
    async def call(client: AsyncClient) -> None:
        while not load.stopping:
            try:
                await client.classify(["film"], model="topic", timeout=60)
                load.count()
            except grpc.RpcError as error:
                load.count(error)

    async def run() -> None:
        async with AsyncClient(target) as client:
            await asyncio.gather(*(call(client) for _ in range(CALLERS)))

    asyncio.run(run())


@contextmanager
def under_load(*addresses: str, callers: Callable[[str, Load], None] = threads) -> Iterator[Load]:
    """Calls the servers around the block, as fast as they answer. No call may have failed at its end."""
    load = Load()
    runner = threading.Thread(target=callers, args=(f"ipv4:{','.join(addresses)}", load))
    runner.start()
    try:
        load.go_on()
        yield load
        load.go_on()
    finally:
        load.stopping = True
        runner.join()
    assert load.failures == []


def kill(server: ServerProcess, process: str) -> dict[str, Any]:
    """Kills one of the server's processes, and returns the line of the log that says so."""
    ready = [line for line in server.log if line["event"] == "ready" and line["process"] == process][-1]
    os.kill(ready["pid"], signal.SIGKILL)
    return server.event("died", after=ready, process=process)


def counters(server: ServerProcess) -> Counter[tuple[str, ...]]:
    """Reads the counters of /metrics: by name and label values."""
    read: Counter[tuple[str, ...]] = Counter()
    for family in text_string_to_metric_families(server.metrics()):
        for sample in family.samples:
            if family.type == "counter" and not sample.name.startswith("process_"):
                read[sample.name, *sample.labels.values()] = int(sample.value)
    return read


def texts(read: Counter[tuple[str, ...]]) -> int:
    return sum(value for (name, *_), value in read.items() if name == "text_classifier_texts_total")


@pytest.mark.parametrize("callers", [threads, tasks])
def test_a_server_that_stops_tells_health_and_no_call_fails_while_another_serves(
    callers: Callable[[str, Load], None], server: ServerProcess, tiny_models: Path
) -> None:
    with (
        serving(tiny_models, *WORKERS) as stops,
        grpc.insecure_channel(stops.address) as channel,
        under_load(server.address, stops.address, callers=callers),
    ):
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=120)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        assert texts(counters(stops)) > 0  # it had its share of the load
        stops.signal(signal.SIGTERM)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()  # it is a request in flight, for which the server would wait as long as it may
        assert stops.wait() == 0


def test_no_call_fails_and_no_count_is_lost_when_workers_are_killed_under_load(tiny_models: Path) -> None:
    with serving(tiny_models, *WORKERS) as server:
        with under_load(server.address) as load:
            before = counters(server)
            for worker in ("worker 0", "worker 1"):
                seen = kill(server, worker)
                load.go_on()  # the other worker answers
                during = counters(server)
                server.event("serving", after=seen)
                after = counters(server)
                assert before <= during <= after
                before = after
        # A text that was classified is counted, even where a kill kept the answer from its caller.
        assert load.answered <= texts(counters(server)) <= load.answered + 2 * CALLERS


def test_the_models_folder_may_go_while_the_server_serves_and_a_worker_starts_when_it_is_back(
    tiny_models: Path, tmp_path: Path
) -> None:
    models, gone = tmp_path / "models", tmp_path / "gone"
    shutil.copytree(tiny_models, models)
    with serving(models, *WORKERS) as server, under_load(server.address) as load:
        models.rename(gone)
        load.go_on()
        refused = server.event("cannot restart", after=kill(server, "worker 0"))
        assert "no model to serve" in refused["reason"]
        load.go_on()
        gone.rename(models)
        server.event("serving", after=refused)


def test_a_server_to_which_every_disk_is_read_only_serves_restarts_a_worker_and_sees_new_versions(
    tiny_models: Path, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    shutil.copytree(tiny_models, models)
    disks = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    read_only = "; ".join(
        f"mount -o remount,bind,ro {disk}" for disk in disks if not disk.startswith(("/dev", "/proc", "/sys"))
    )
    run_by = with_mounts(f'({read_only}) 2> /dev/null; ! touch "$0" 2> /dev/null', str(tmp_path / "written"))
    with serving(models, *WORKERS, "--watch-interval", "0.1", run_by=run_by) as server:
        with under_load(server.address) as load:
            server.event("serving", after=kill(server, "worker 0"))
            load.go_on()
        shutil.copytree(models / "sentiment" / "1", models / ".new")
        (models / ".new").rename(models / "sentiment" / "2")
        server.event("model in service", model="sentiment", version=2)


def test_a_server_whose_log_is_on_a_full_disk_serves_restarts_a_worker_and_stops_well(tiny_models: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "service", "--models", str(tiny_models), *WORKERS]
    command += ["--port", str(port), "--http-port", "0", "--metrics-port", "0"]
    with Path("/dev/full").open("w") as full, subprocess.Popen(command, stderr=full, cwd=ROOT) as server:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=120, wait_for_ready=True)
            while next(watch).status != health_pb2.HealthCheckResponse.SERVING:
                pass
        with under_load(f"127.0.0.1:{port}") as load:
            children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
            os.kill(int(children[0]), signal.SIGKILL)
            load.go_on()
        server.terminate()
        assert server.wait(timeout=120) == 0


LIBFAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


@pytest.mark.skipif(LIBFAKETIME is None, reason="needs libfaketime (Debian: faketime)")
def test_clock_jumps_of_hours_and_days_change_nothing(tiny_models: Path, tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0")
    environment = {
        "LD_PRELOAD": str(LIBFAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # which no jump of the system's clock changes
    }
    server = ServerProcess(tiny_models, *WORKERS, environment=environment)
    try:
        seen = server.event("serving")
        with under_load(server.address) as load:
            for jump in ("+2h", "-30d"):
                before = datetime.fromisoformat(seen["timestamp"])
                clock.write_text(jump)
                load.go_on()
                seen = server.event("serving", after=kill(server, "worker 0"))
                assert abs(datetime.fromisoformat(seen["timestamp"]) - before) > timedelta(hours=1)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    finally:
        server.process.kill()
        server.wait()
