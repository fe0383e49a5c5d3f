"""A process that does not respond is replaced; one that loads a model is given time."""

import asyncio
import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from service.config import Config
from service.process.child_pipe import Failure, Signal, SupervisorEnd, child_pipe
from service.process.heartbeat import Heartbeat
from tests.addresses import OWN_HOST, free_port
from tests.server_process import ServerProcess, serving
from text_classifier import Client, calls
from text_classifier.calls import CHANNEL_OPTIONS


def pid_of(server: ServerProcess, process: str) -> int:
    return int(server.event("ready", process=process)["pid"])


@pytest.mark.parametrize("process", ["worker 1", "metrics"])
def test_a_process_that_is_stuck_is_replaced(process: str, tiny_models: Path) -> None:
    address = ("--metrics-host", OWN_HOST, "--metrics-port", str(free_port()))
    with serving(tiny_models, "--workers", "2", "--heartbeat-timeout", "4", *address) as server:
        stuck = pid_of(server, process)
        os.kill(stuck, signal.SIGSTOP)
        silent = server.event("does not respond", process=process, pid=stuck)
        assert silent["seconds"] >= 4
        server.event("serving", after=server.event("died", after=silent, pid=stuck))
        with Client(server.address, timeout=60) as client:
            assert client.classify(["oil"], model="topic")
        assert "text_classifier_process_restarts_total 1.0" in server.metrics()
        assert [line["pid"] for line in server.log if line["event"] == "does not respond"] == [stuck]


def test_clients_of_a_stuck_worker_move_on(tiny_models: Path) -> None:
    with serving(tiny_models, "--workers", "2", "--heartbeat-timeout", "3") as server:
        clients = [Client(server.address, timeout=60) for _ in range(8)]  # connected to either worker
        for client in clients:
            client.classify(["oil"], model="topic")
        os.kill(pid_of(server, "worker 0"), signal.SIGSTOP)
        for client in clients:
            with client:
                assert client.classify(["oil"], model="topic")
        assert server.event("does not respond", process="worker 0")


def test_a_client_leaves_a_server_that_is_stuck_as_a_whole(
    server: ServerProcess, tiny_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorter = {"grpc.keepalive_time_ms": 1000, "grpc.keepalive_timeout_ms": 500, "grpc.http2.ping_timeout_ms": 500}
    monkeypatch.setattr(calls, "CHANNEL_OPTIONS", tuple((dict(calls.CHANNEL_OPTIONS) | shorter).items()))
    shipped: dict[str, Any] = dict(CHANNEL_OPTIONS)  # longer ones
    assert all(shorter[name] < shipped[name] <= 20_000 for name in shorter)
    with (
        serving(tiny_models, "--workers", "1") as stuck,
        Client(f"ipv4:{stuck.address},{server.address}", timeout=60) as client,
    ):
        for _ in range(4):
            client.classify(["oil"], model="topic")
        assert "text_classifier_texts_total" in stuck.metrics()  # it had its share
        pids = [stuck.process.pid, pid_of(stuck, "worker 0")]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            for _ in range(4):
                assert client.classify(["oil"], model="topic")
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


def test_a_stuck_process_stays_if_heartbeats_are_off(tiny_models: Path) -> None:
    with serving(tiny_models, "--workers", "1", "--heartbeat-timeout", "0") as server:
        metrics = pid_of(server, "metrics")
        os.kill(metrics, signal.SIGSTOP)
        with Client(server.address, timeout=60) as client:
            assert client.classify(["oil"], model="topic")
        os.kill(metrics, signal.SIGCONT)
        assert all(line["event"] != "does not respond" for line in server.log)


@contextmanager
def longer_silence(tiny_models: Path) -> Iterator[Callable[[], object]]:
    """Yields what waits longer than a timeout of 3 seconds: until another server notices a stuck process."""
    with serving(tiny_models, "--workers", "1", "--heartbeat-timeout", "6") as server:

        def wait() -> None:
            os.kill(pid_of(server, "metrics"), signal.SIGSTOP)
            server.event("does not respond", process="metrics")

        yield wait


def switches(pid: int) -> str:
    """How often a process has gone to sleep."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(line for line in status.splitlines() if line.startswith("voluntary_ctxt_switches"))


def test_no_process_is_replaced_because_the_whole_server_was_stopped(tiny_models: Path) -> None:
    flags = ("--workers", "1", "--heartbeat-timeout", "3")
    with longer_silence(tiny_models) as wait, serving(tiny_models, *flags) as server:
        supervisor, children = server.process.pid, [pid_of(server, "worker 0"), pid_of(server, "metrics")]
        for pid in (supervisor, *children):
            os.kill(pid, signal.SIGSTOP)
        wait()
        before = switches(supervisor)
        os.kill(supervisor, signal.SIGCONT)
        while switches(supervisor) == before:  # it looks at its children before they can say anything
            os.sched_yield()
        for pid in children:
            os.kill(pid, signal.SIGCONT)
        with Client(server.address, timeout=60) as client:
            assert client.classify(["oil"], model="topic")
        assert {line["event"] for line in server.log}.isdisjoint({"does not respond", "died"})


STOPPED_BY_AN_IMPORT = """
import os, pathlib, signal
once = pathlib.Path(__file__).with_name("once")
if not once.exists():
    once.touch()
    once.with_name("pid").write_text(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGSTOP)
raise ModuleNotFoundError(name="tensorflow")
"""


def test_a_worker_that_imports_a_library_for_its_model_may_be_silent_for_longer(
    tiny_models: Path, tmp_path: Path
) -> None:
    (tmp_path / "tensorflow.py").write_text(STOPPED_BY_AN_IMPORT)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "topic").symlink_to(tiny_models / "topic")
    os.mkfifo(tmp_path / "pid")
    pid = os.open(tmp_path / "pid", os.O_RDONLY | os.O_NONBLOCK)
    flags = ("--workers", "1", "--heartbeat-timeout", "3", "--engine", "tensorflow")
    with longer_silence(tiny_models) as wait:
        server = ServerProcess(tmp_path / "models", *flags, environment={"PYTHONPATH": str(tmp_path)})
        try:
            assert select.select([pid], [], [], 60)[0]
            worker = int(os.read(pid, 20))
            wait()
            os.kill(worker, signal.SIGCONT)
            assert server.wait() == 1
            assert all(line["event"] != "does not respond" for line in server.log)
        finally:
            os.close(pid)
            server.process.kill()
            server.wait()


def test_the_default_is_five_seconds() -> None:
    assert Config().heartbeat_timeout == 5


def test_a_load_is_told_to_the_supervisor_from_its_begin_to_its_end() -> None:
    supervisor, child = child_pipe()
    heartbeat = Heartbeat(child, timeout=5)
    for _ in range(2):
        with heartbeat.loading():
            assert supervisor.receive() == [Signal.LOADING]
        assert supervisor.receive() == [Signal.BEAT]
    with heartbeat.loading(), heartbeat.loading():
        pass
    assert supervisor.receive() == [Signal.LOADING, Signal.LOADING, Signal.LOADING, Signal.BEAT]
    supervisor.close()
    child.close()


def test_an_event_loop_tells_that_it_runs_unless_nobody_waits_for_it() -> None:
    supervisor, child = child_pipe()

    async def run(timeout: float) -> None:
        async with Heartbeat(child, timeout).running():
            if timeout:
                await asyncio.get_running_loop().run_in_executor(None, select.select, [supervisor], [], [], 60)
            else:
                await asyncio.sleep(0)

    asyncio.run(run(0))
    assert supervisor.receive() == []
    asyncio.run(run(1000))
    assert supervisor.receive() == [Signal.BEAT]
    supervisor.close()
    child.close()


def test_a_child_hears_whether_the_server_serves_until_the_supervisor_is_gone() -> None:
    supervisor, child = child_pipe()

    async def heard() -> list[bool]:
        changes = []
        supervisor.tell(True)
        async for change in child.serving():
            changes.append(change)
            if len(changes) == 1:
                supervisor.tell(False)
            else:
                supervisor.close()
        return changes

    assert asyncio.run(heard()) == [True, False]
    child.close()


def test_a_child_hears_that_the_supervisor_is_gone_although_its_lines_are_unread() -> None:
    supervisor, child = child_pipe()
    child.beat()
    supervisor.close()

    async def heard() -> list[bool]:
        return [change async for change in child.serving()]

    assert asyncio.run(heard()) == []
    child.close()


def test_a_child_that_is_gone_hears_nothing() -> None:
    supervisor, child = child_pipe()
    child.close()
    supervisor.tell(True)
    assert supervisor.receive() == []
    supervisor.close()


def test_a_supervisor_s_end_can_be_waited_for_until_it_is_closed() -> None:
    supervisor, child = child_pipe()
    child.ready()
    assert select.select([supervisor], [], [], 60)[0] == [supervisor]
    supervisor.close()
    assert supervisor.fileno() == -1
    child.close()


def test_a_child_that_waits_beats_and_returns_when_the_supervisor_is_gone() -> None:
    supervisor, child = child_pipe()
    waiting = threading.Thread(target=child.wait, args=(0.001,))
    waiting.start()
    received: list[Signal | Failure] = []
    while len(received) < 3:
        assert select.select([supervisor], [], [], 60)[0]
        received += supervisor.receive()
    supervisor.tell(True)  # is no reason to return
    assert select.select([supervisor], [], [], 60)[0]
    received += supervisor.receive()
    supervisor.close()
    waiting.join(60)
    assert not waiting.is_alive()
    assert set(received) == {Signal.BEAT}
    child.close()


def test_messages_of_a_child_come_one_by_one_however_the_socket_splits_them() -> None:
    supervisor_end, child_end = socket.socketpair()
    supervisor = SupervisorEnd(supervisor_end)
    assert supervisor.receive() == []
    child_end.sendall(b"beat\nrea")
    assert supervisor.receive() == [Signal.BEAT]
    child_end.sendall(b"dy\ncannot load\nfailed for now\n")
    assert supervisor.receive() == [
        Signal.READY,
        Failure("load", permanent=True),
        Failure("for now", permanent=False),
    ]
    child_end.close()
    assert supervisor.receive() == []


def test_a_supervisor_that_is_gone_or_does_not_read_blocks_no_heartbeat() -> None:
    supervisor, child = child_pipe()
    for _ in range(100_000):
        child.beat()
    supervisor.close()
    child.beat()
    child.ready()
    child.failed("nobody hears it", permanent=True)
    child.close()
