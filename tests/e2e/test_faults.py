"""Harm done for real to running servers, while the shipped clients call them: no call may fail."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.addresses import OWN_HOST, free_port
from tests.load import CALLERS, Load, counters, tasks, texts, threads, under_load
from tests.mounts import with_mounts
from tests.server_process import ROOT, ServerProcess, serving, wait_until_serving

WORKERS = ("--workers", "2")


def kill(server: ServerProcess, process: str) -> dict[str, Any]:
    """Kills one of the server's processes, and returns the line of the log that says so."""
    ready = [line for line in server.log if line["event"] == "ready" and line["process"] == process][-1]
    os.kill(ready["pid"], signal.SIGKILL)
    return server.event("died", after=ready, process=process)


@pytest.mark.parametrize("callers", [threads, tasks])
def test_a_server_that_stops_tells_health_and_no_call_fails_while_another_serves(
    callers: Callable[[str, str, Load], None], server: ServerProcess, tiny_models: Path
) -> None:
    with (
        serving(tiny_models, *WORKERS) as stops,
        grpc.insecure_channel(stops.address) as channel,
        under_load(f"ipv4:{server.address},{stops.address}", callers=callers),
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
        answered = len(load.answers)
        assert answered <= texts(counters(server)) <= answered + 2 * CALLERS


def test_a_worker_that_starts_without_the_models_folder_serves_when_it_is_back(
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


def test_a_server_on_read_only_disks_serves_restarts_and_sees_new_versions(tiny_models: Path, tmp_path: Path) -> None:
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


def test_a_server_whose_log_disk_is_full_serves_restarts_and_stops(tiny_models: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "service", "--models", str(tiny_models), *WORKERS]
    command += ["--host", OWN_HOST, "--port", str(port), "--http-port", "0", "--metrics-port", "0"]
    with Path("/dev/full").open("w") as full, subprocess.Popen(command, stderr=full, cwd=ROOT) as server:
        wait_until_serving(f"{OWN_HOST}:{port}")
        with under_load(f"{OWN_HOST}:{port}") as load:
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
                (tmp_path / "jump").write_text(jump)
                (tmp_path / "jump").rename(clock)  # no process reads half of it
                load.go_on()
                seen = server.event("serving", after=kill(server, "worker 0"))
                assert abs(datetime.fromisoformat(seen["timestamp"]) - before) > timedelta(hours=1)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    finally:
        server.process.kill()
        server.wait()
