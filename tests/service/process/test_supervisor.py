"""The processes of one server: they are killed here for real."""

import os
import resource
import select
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.addresses import OWN_HOST, free_port
from tests.server_process import ServerProcess, serving
from text_classifier.v1 import text_classifier_pb2 as pb2
from text_classifier.v1 import text_classifier_pb2_grpc as pb2_grpc

WORKERS = ("--workers", "2")
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def value(metrics: str, name: str) -> float:
    return sum(float(line.rsplit(" ", 1)[1]) for line in metrics.splitlines() if line.startswith(name))


@contextmanager
def fresh_stub(server: ServerProcess) -> Iterator[pb2_grpc.TextClassifierStub]:
    """A stub with a connection of its own, so that the kernel chooses a worker anew."""
    with grpc.insecure_channel(server.address, options=OWN_CONNECTION) as channel:
        yield pb2_grpc.TextClassifierStub(channel)


def classify(server: ServerProcess) -> None:
    """Calls either worker. One that starts again takes connections before it has its models: then another is made."""
    for _ in range(1000):
        try:
            with fresh_stub(server) as stub:
                stub.Classify(pb2.ClassifyRequest(model="topic", texts=["oil"]), timeout=60, wait_for_ready=True)
        except grpc.RpcError as error:
            if not str(error.details()).startswith("no model is ready yet"):
                raise
        else:
            return
    raise AssertionError("no worker answers")


def test_every_worker_answers_and_metrics_are_their_total(tiny_models: Path) -> None:
    with serving(tiny_models, *WORKERS) as server:
        for _ in range(40):
            classify(server)
        metrics = server.metrics()
        assert value(metrics, "text_classifier_texts_total") == 40
        assert value(metrics, "process_cpu_seconds_total{") > 0
        assert {line.split("}")[0] for line in metrics.splitlines() if line.startswith("process_start_time")} == {
            f'process_start_time_seconds{{worker="{number}"' for number in range(2)
        }


def test_a_killed_worker_is_started_again_the_port_stays_open_and_no_count_is_lost(tiny_models: Path) -> None:
    with serving(tiny_models, *WORKERS) as server:
        for _ in range(10):
            classify(server)
        victim = server.event("ready", process="worker 0")["pid"]
        os.kill(victim, signal.SIGKILL)
        died = server.event("died", process="worker 0", pid=victim)
        for _ in range(10):
            classify(server)  # the other worker answers
        restarted = server.event("ready", after=died, process="worker 0")
        assert restarted["pid"] != victim
        server.event("serving", after=restarted)
        for _ in range(10):
            classify(server)
        metrics = server.metrics()
    assert value(metrics, "text_classifier_texts_total") == 30
    assert value(metrics, "text_classifier_process_restarts_total") == 1


def test_a_worker_for_which_the_system_has_no_room_is_started_when_it_has(tiny_models: Path) -> None:
    with serving(tiny_models, *WORKERS) as server:
        before = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        os.kill(server.event("ready", process="worker 0")["pid"], signal.SIGKILL)
        failed = server.event("cannot restart", process="worker 0")
        assert failed["reason"] == "cannot start another process, worker 0: Too many open files"
        classify(server)  # the other worker answers
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, before)
        server.event("serving", after=server.event("ready", after=failed, process="worker 0"))


def test_a_killed_metrics_process_is_started_again_with_all_counts(tiny_models: Path) -> None:
    address = ("--metrics-host", OWN_HOST, "--metrics-port", str(free_port()))
    with serving(tiny_models, *WORKERS, *address) as server:
        classify(server)
        victim = server.event("ready", process="metrics")["pid"]
        os.kill(victim, signal.SIGKILL)
        died = server.event("died", process="metrics", pid=victim)
        server.event("serving", after=died)
        assert value(server.metrics(), "text_classifier_texts_total") == 1


def test_health_is_not_serving_while_a_worker_is_missing(tiny_models: Path) -> None:
    with serving(tiny_models, *WORKERS) as server, ExitStack() as stack:
        watches = []
        for _ in range(16):  # each with a connection of its own: some reach either worker
            channel = stack.enter_context(grpc.insecure_channel(server.address, options=OWN_CONNECTION))
            health: Any = health_pb2_grpc.HealthStub(channel)
            watches.append(health.Watch(health_pb2.HealthCheckRequest(), timeout=120))
        for watch in watches:  # a worker hears a moment after the log that the server serves
            next(response for response in watch if response.status == SERVING)
        os.kill(server.event("ready", process="worker 1")["pid"], signal.SIGKILL)
        seen = []
        for watch in watches:
            with suppress(grpc.RpcError):  # it was connected to the killed worker
                seen.append([next(watch).status, next(watch).status])
    assert seen
    assert all(statuses == [NOT_SERVING, SERVING] for statuses in seen)


def test_workers_stop_when_the_supervisor_is_killed(tiny_models: Path) -> None:
    server = ServerProcess(tiny_models, *WORKERS)
    server.event("serving")
    pids = [line["pid"] for line in server.log if line["event"] == "ready"]
    assert len(pids) == 3
    handles = [os.pidfd_open(pid) for pid in pids]
    server.signal(signal.SIGKILL)
    for handle in handles:
        # Readable when the process has ended.
        assert select.select([handle], [], [], 60)[0]
        os.close(handle)
    assert server.wait() == -signal.SIGKILL


@pytest.mark.parametrize("process", ["worker 1", "metrics"])
def test_a_process_that_hangs_does_not_keep_the_server_from_stopping(process: str, tiny_models: Path) -> None:
    with serving(tiny_models, *WORKERS, "--grace-period", "0") as server:
        hung = server.event("ready", process=process)["pid"]
        handle = os.pidfd_open(hung)
        os.kill(hung, signal.SIGSTOP)
        server.signal(signal.SIGTERM)
        assert select.select([handle], [], [], 60)[0]
        os.close(handle)
        assert server.wait() == 0


def test_a_second_server_on_the_same_port_is_refused_although_workers_share_it(tiny_models: Path) -> None:
    with serving(tiny_models, *WORKERS) as server:
        port = server.event("started")["port"]
        second = ServerProcess(tiny_models, "--port", str(port))
        assert second.wait() == 1
        assert f"cannot listen on 127.0.0.1:{port}" in second.event("cannot start")["reason"]
        classify(server)


def test_a_worker_that_cannot_start_ends_the_server_with_one_line(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, *WORKERS)
    assert server.wait() == 1
    assert [line["event"] for line in server.log].count("cannot start") == 1
