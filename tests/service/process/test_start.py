"""The start of the server, and what it meets there: no models, signals, closed descriptors, taken addresses."""

import contextlib
import multiprocessing
import os
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.address import bound_socket, grpc_target
from service.config import Config
from service.errors import StartError
from service.process import ports
from service.process.ports import reserve
from service.process.start import start
from tests.addresses import OWN_HOST, free_port
from tests.server_process import ROOT, UNPRIVILEGED, ServerProcess, serving, wait_until_serving
from text_classifier import Client

NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for namespaces")


def health(address: str) -> int:
    with grpc.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        return int(stub.Check(health_pb2.HealthCheckRequest(), timeout=60, wait_for_ready=True).status)


@contextlib.contextmanager
def started(*arguments: Any, **options: Any) -> Iterator[ServerProcess]:
    """A server that does not serve yet."""
    server = ServerProcess(*arguments, **options)
    try:
        yield server
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    finally:
        server.process.kill()
        server.wait()


def test_a_server_without_models_waits_for_one_and_says_so(tiny_models: Path, tmp_path: Path) -> None:
    with started(tmp_path / "models", "--require-model", "off", "--workers", "2", "--watch-interval", "0.05") as server:
        waiting = server.event("waiting for a model", worker=0)
        assert "No such file or directory" in waiting["reason"]
        assert health(server.address) == health_pb2.HealthCheckResponse.NOT_SERVING
        with Client(server.address, timeout=60) as client, pytest.raises(grpc.RpcError) as error:
            client.model("topic")
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        shutil.copytree(tiny_models, tmp_path / "elsewhere")
        (tmp_path / "elsewhere").rename(tmp_path / "models")
        server.event("serving")
        with Client(server.address, timeout=60) as client:
            assert client.classify(["oil"], model="topic")


def test_a_model_that_is_required_and_half_copied_is_the_reason_in_the_last_line(
    tiny_models: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_models / "topic", tmp_path / "topic")
    (tmp_path / "topic" / "1" / "assets.extra" / "metadata.json").unlink()
    server = ServerProcess(tmp_path)
    assert server.wait() == 1
    reason = server.event("cannot start")["reason"]
    assert re.fullmatch(r"no model to serve: topic/1: assets.extra/metadata.json: .*", reason)


def test_a_worker_that_fails_again_and_again_ends_the_server_with_its_reason(tiny_models: Path) -> None:
    environment = {"OTEL_BSP_MAX_QUEUE_SIZE": "-1", "OTEL_TRACES_EXPORTER": "otlp"}
    server = ServerProcess(tiny_models, "--workers", "1", "--tracing", "on", environment=environment)
    assert server.wait() == 1
    assert server.event("cannot start")["reason"].startswith("worker 0: ValueError: max_queue_size must be")
    assert [line["event"] for line in server.log].count("failed") == 3
    assert [line["restart_in"] for line in server.log if line["event"] == "died"] == [0.1, 0.2]


def test_a_worker_that_is_killed_at_each_start_ends_the_server_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "uvloop.py").write_text("import os\ndef run(work):\n    work.close()\n    os.abort()\n")
    server = ServerProcess(tmp_path, "--workers", "1", environment={"PYTHONPATH": str(tmp_path)})
    assert server.wait() == 1
    assert server.event("cannot start")["reason"] == "worker 0 was killed by SIGABRT while it started"
    assert server.log[-1]["event"] == "stopped"


@pytest.mark.parametrize("transport", ["auto", "grpcio"])
def test_too_few_open_files_for_a_start_are_one_line_that_says_what_to_raise(transport: str, tiny_models: Path) -> None:
    server = ServerProcess(
        tiny_models, "--workers", "1", "--transport", transport, run_by=("prlimit", "--nofile=24:24")
    )
    assert server.wait() == 1
    (line,) = server.log
    assert line["event"] == "cannot start"
    assert line["reason"].startswith("the limit of open files is 24: raise it to 1024 or more (ulimit -Hn, ")


def test_the_limit_of_open_files_is_raised_and_a_low_one_is_warned_of(tiny_models: Path) -> None:
    for soft, hard, warned in ((24, 2000, False), (70, 70, True)):
        with serving(tiny_models, "--workers", "1", run_by=("prlimit", f"--nofile={soft}:{hard}")) as server:
            worker = server.event("ready", process="worker 0")["pid"]
            assert resource.prlimit(worker, resource.RLIMIT_NOFILE) == (hard, hard)
            assert ("few open files" in [line["event"] for line in server.log]) == warned


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_workers_are_started_stops_before_the_next(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "uvloop.py").write_text("import signal\ndef run(work):\n    work.close()\n    signal.pause()\n")
    (tmp_path / "sitecustomize.py").write_text(
        "import os\ndef forked():\n"
        '    os.write(2, b\'{"event": "forked"}\\n\')\n'
        f"    os.kill(os.getpid(), {number})\n"
        "os.register_at_fork(after_in_parent=forked)\n"
    )
    one_cpu = ("taskset", "--cpu-list", str(min(os.sched_getaffinity(0))))
    server = ServerProcess(tmp_path, "--workers", "1000", environment={"PYTHONPATH": str(tmp_path)}, run_by=one_cpu)
    assert server.wait() == 0
    assert [line["event"] for line in server.log] == ["fewer workers", "started", "forked", "stopping", "stopped"]
    assert [server.event(event)["workers"] for event in ("fewer workers", "started")] == [8, 8]


def test_a_server_without_address_space_for_its_metrics_says_so(tiny_models: Path) -> None:
    little_memory = ("sh", "-c", 'ulimit -v 300000 && exec "$@"', "sh")
    server = ServerProcess(tiny_models, "--workers", "50", run_by=little_memory)
    assert server.wait() == 1
    assert server.event("cannot start")["reason"].startswith("no address space for the metrics, ")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--tokens", "/nowhere/tokens"), "--tokens: cannot read /nowhere/tokens: No such file or directory"),
        (("--tokens", "/"), "--tokens: cannot read /: Is a directory"),
        (("--tls-cert", "/nowhere/c", "--tls-key", "/nowhere/k"), "--tls-cert: cannot read /nowhere/c"),
        (("--tls-cert", "/dev/null", "--tls-key", "/nowhere/k"), "--tls-key: cannot read /nowhere/k"),
        (("--tls-cert", "/dev/null", "--tls-key", "/dev/null"), "/dev/null holds no PEM certificate"),
        (("--tokens", "/dev/zero"), "--tokens: cannot read /dev/zero: it holds more than 16 MiB"),
        (("--tls-client-ca", "/dev/null"), "both --tls-cert and --tls-key: give --tls-cert and --tls-key too"),
        (("--tls-client-ca", "/dev/null", "--tls-cert", "/dev/null"), "--tls-key: give --tls-key too"),
        (("--capture", "/dev/null"), "--capture /dev/null: is a file, not a folder"),
        (("--capture", "/dev/null/x"), "--capture /dev/null/x: cannot make the folder: Not a directory"),
        (("--log-format", "json", "--workers", "x"), "--workers: 'x' is not an integer"),
        (("--models", "README.md"), "--models: README.md is not a folder"),
    ],
)
def test_what_an_option_names_is_checked_before_anything_starts(
    flags: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    server = ServerProcess(tmp_path, *flags)
    assert server.wait() == 2
    (line,) = server.log
    assert line["line"].startswith("text-classifier-server: error: ")
    assert says in line["line"]


def test_a_pipe_in_place_of_a_file_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tokens")
    server = ServerProcess(tmp_path, "--tokens", str(tmp_path / "tokens"))
    assert server.wait() == 2
    assert "it is a pipe, and each process reads the file" in server.log[-1]["line"]


def test_an_engine_whose_extra_is_missing_ends_the_start_with_the_extras_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(SystemExit) as exit_:
        start(Config(models=tmp_path, engine="tensorflow"), {})
    assert exit_.value.code == 2
    assert "--engine tensorflow needs TensorFlow, which is not installed" in capsys.readouterr().err


def test_options_of_a_capture_without_a_folder_are_a_warning(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, "--capture-share", "0.5", "--capture-bytes", "2000000")
    assert server.wait() == 1
    warned = [line["option"] for line in server.log if line["event"] == "option without effect"]
    assert warned == ["--capture-share", "--capture-bytes"]


def starting(tmp_path: Path) -> dict[str, str]:
    """The environment of a server that tells that it is being imported, and goes no further."""
    (tmp_path / "structlog.py").write_text(
        'import os, signal\nos.write(2, b\'{"event": "importing"}\\n\')\nwhile True: signal.pause()'
    )
    return {"PYTHONPATH": str(tmp_path)}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_imports_stops_the_server_well(
    number: signal.Signals, tiny_models: Path, tmp_path: Path
) -> None:
    server = ServerProcess(tiny_models, environment=starting(tmp_path))
    server.event("importing")
    server.signal(signal.SIGHUP)  # which changes nothing
    server.signal(number)
    assert server.wait() == 0


def namespace_init(server: ServerProcess) -> int:
    """The host's id of the process that has id 1 in a server's namespace."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    return int(children.read_text())


def test_garbage_is_collected_after_the_imports_but_not_looked_for_in_what_they_made() -> None:
    code = (
        "import gc, sys, service.process.start as module; from service.cli import main;"
        "module.start = lambda *_: 0 if gc.isenabled() and gc.get_freeze_count() else 1;"
        "sys.argv = ['text-classifier-server']; sys.exit(main())"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT, timeout=60).returncode == 0


@needs_root
def test_process_1_is_stopped_by_a_signal_during_the_imports(tiny_models: Path, tmp_path: Path) -> None:
    server = ServerProcess(tiny_models, environment=starting(tmp_path), run_by=NAMESPACE)
    server.event("importing")
    os.kill(namespace_init(server), signal.SIGTERM)
    assert server.wait() == 0


ORPHAN = """
import os, sys
if os.fork() == 0:
    if os.fork() == 0:  # the /proc of the host names it as the host does
        os.write(1, os.readlink("/proc/self").encode() + b"\\n")
        sys.stdin.read()
    os._exit(0)
os.wait()
"""


@needs_root
def test_process_1_reaps_orphans(tiny_models: Path) -> None:
    server = ServerProcess(tiny_models, "--workers", "1", run_by=NAMESPACE)
    try:
        server.event("serving")
        init = namespace_init(server)
        command = ["nsenter", "--pid", "--target", str(init), sys.executable, "-c", ORPHAN]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout
            orphan = Path("/proc") / parent.stdout.readline().strip()
            assert orphan.exists()
        while orphan.exists():  # it is a zombie until it is reaped
            os.sched_yield()
        os.kill(init, signal.SIGTERM)
        assert server.wait() == 0
    finally:
        server.process.kill()
        server.wait()


@pytest.mark.parametrize("closed", ["2>&-", "0<&- 1>&- 2>&-"])
def test_a_server_with_closed_descriptors_serves(closed: str, tiny_models: Path) -> None:
    address = f"{OWN_HOST}:{(port := free_port())}"
    flags = f"--models {tiny_models} --workers 1 --host {OWN_HOST} --port {port} --http-port 0 --metrics-port 0"
    command = ["sh", "-c", f"exec {sys.executable} -m service {flags} {closed}"]
    with subprocess.Popen(command, cwd=ROOT) as server:
        try:
            wait_until_serving(address)
            with Client(address, timeout=60) as client:
                assert client.classify(["oil"], model="topic")
            server.terminate()
            assert server.wait(timeout=120) == 0
        finally:
            server.kill()


def test_misspelt_variables_and_those_of_kubernetes_are_told_in_the_log(tmp_path: Path) -> None:
    environment = {"TEXT_CLASSIFIER_WORKER": "7", "TEXT_CLASSIFIER_HTTP_PORT": "tcp://10.0.0.1:80"}
    server = ServerProcess(tmp_path, environment=environment)
    assert server.wait() == 1
    unknown = server.event("unknown environment variable: ignored", variable="TEXT_CLASSIFIER_WORKER")
    assert unknown["did_you_mean"] == "TEXT_CLASSIFIER_WORKERS"
    assert server.event("environment variable of a Kubernetes Service: ignored", variable="TEXT_CLASSIFIER_HTTP_PORT")


@pytest.mark.parametrize("host", ["::1", "[::1]", "::", "0.0.0.0", "localhost"])
def test_grpc_http_and_metrics_listen_on_the_addresses_of_a_host(host: str, tiny_models: Path) -> None:
    reached = {"::1": ["::1"], "[::1]": ["::1"], "localhost": []}.get(host, ["::1", "127.0.0.1"])
    with serving(tiny_models, "--workers", "1", "--host", host) as server:
        line = server.event("started")
        for address in reached:
            for port in (line["port"], line["http_port"]):
                socket.create_connection((address, port)).close()
        target = f"[{reached[0]}]:{line['port']}" if reached else f"localhost:{line['port']}"
        with Client(target, timeout=60) as client:
            assert client.classify(["oil"], model="topic")
        command = [sys.executable, "-m", "service.healthcheck", "--host", host, "--port", str(line["port"])]
        assert subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout == "SERVING\n"


@pytest.mark.parametrize("transport", ["auto", "native", "grpcio"])
def test_grpc_is_served_on_a_unix_domain_socket(transport: str, tiny_models: Path, tmp_path: Path) -> None:
    native = find_spec("service.grpc._native_server") is not None
    if transport == "native" and not native:
        pytest.skip("the native transport is not built")
    path = tmp_path / "a %41?#☺"  # gRPC's targets are URIs
    socket.socket(socket.AF_UNIX).bind(str(path))  # as a killed server leaves it
    flags = ("--host", f"unix:{path}", "--http-port", "off", "--transport", transport)
    group_alone = ("sh", "-c", 'umask 007; exec "$@"', "sh")
    target = grpc_target(f"unix:{path}", 0)
    with serving(tiny_models, *flags, run_by=group_alone) as server, Client(target, timeout=60) as client:
        assert server.event("started")["workers"] == 1  # processes cannot share it
        carrier = ("native" if native else "grpcio") if transport == "auto" else transport
        assert client.models().server.transport == carrier
        assert stat.filemode(path.stat().st_mode) == "srwxrwx---"
        assert client.classify(["oil"], model="topic")
        second = ServerProcess(tiny_models, *flags)
        assert second.wait() == 1
        assert "another server listens there" in second.event("cannot start")["reason"]
        assert client.classify(["oil"], model="topic")
        os.kill(server.event("ready", process="worker 0")["pid"], signal.SIGKILL)
        server.event("serving", after=server.event("died"))
        assert client.classify(["oil"], model="topic")
        path.rename(tmp_path / "moved")
        assert server.event("socket removed")["host"] == f"unix:{path}"
        (tmp_path / "moved").rename(path)
        command = [sys.executable, "-m", "service.healthcheck", *flags]
        assert subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout == "SERVING\n"
    assert not path.exists()


@pytest.mark.parametrize("there", ["a file", "a listener", "a listener that accepts nothing", "no folder", "no right"])
def test_a_unix_domain_socket_that_cannot_be_is_one_line(there: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as waiting:
        match there:
            case "a file":
                path.touch()
            case "a listener":
                listener.bind(str(path))
                listener.listen()
            case "a listener that accepts nothing":
                listener.bind(str(path))
                listener.listen(0)
                waiting.enter_context(socket.socket(socket.AF_UNIX)).connect(str(path))  # the backlog is full
            case "no right":
                path = tmp_path / "closed" / "socket"
                path.parent.mkdir(mode=0o000)
            case "no folder":
                path = tmp_path / "none" / "socket"
        server = ServerProcess(tmp_path, "--host", f"unix:{path}", "--http-port", "off", run_by=UNPRIVILEGED)
        assert server.wait() == 1
    reason = server.event("cannot start")["reason"]
    expected = {"a file": "is not a socket", "no folder": "No such file or directory", "no right": "Permission denied"}
    assert reason.startswith(f"cannot listen on unix:{path}")
    assert expected.get(there, "another process listens there") in reason


def _reserve(port: int, start: Barrier, end: Barrier, results: Any) -> None:
    start.wait()
    try:
        reserved = reserve(OWN_HOST, port, "--port")
        results.put(reserved.getsockname()[1])
    except StartError:
        results.put(None)
    end.wait()


def test_of_servers_that_start_at_once_on_a_port_exactly_one_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*arguments: Any) -> socket.socket:
        if socket.SO_REUSEPORT in arguments:
            time.sleep(0.05)  # gives others the time to find the port free too
        return bound_socket(*arguments)

    monkeypatch.setattr(ports, "bound_socket", slow)
    fork = multiprocessing.get_context("fork")
    for _ in range(3):
        port = free_port()
        start, end, results = fork.Barrier(12), fork.Barrier(12), fork.Queue()
        servers = [fork.Process(target=_reserve, args=(port, start, end, results)) for _ in range(12)]
        for server in servers:
            server.start()
        got = [results.get(timeout=60) for _ in servers]
        for server in servers:
            server.join()
        assert [each for each in got if each] == [port]


def test_the_wildcard_and_an_address_of_one_port_exclude_each_other() -> None:
    with reserve("0.0.0.0", 0, "--port") as reserved:
        port = reserved.getsockname()[1]
        for host in ("127.0.0.1", "::1", "::"):
            with pytest.raises(StartError, match="Address already in use; is another server running there"):
                reserve(host, port, "--port")


def test_an_address_of_another_machine_is_told_as_that() -> None:
    with pytest.raises(
        StartError, match=r"cannot listen on 192.0.2.1:0 \(--port\): .*; use an IP address of this machine"
    ):
        reserve("192.0.2.1", 0, "--port")
    with pytest.raises(StartError, match=r"cannot listen on nowhere.invalid:0 .*a name that resolves to one"):
        reserve("nowhere.invalid", 0, "--http-port")


def test_a_port_can_be_reserved_again_right_after_a_server_has_closed_connections() -> None:
    with socket.create_server((OWN_HOST, 0), reuse_port=True) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection((OWN_HOST, port)) as client:
            listener.accept()[0].close()  # the side that closes first keeps the port in TIME_WAIT
            client.recv(1)
    reserve(OWN_HOST, port, "--port").close()


def test_a_version_with_leading_zeros_serves_and_a_bad_name_is_told(tiny_models: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_models / "topic" / "1", tmp_path / "topic" / "000123")
    shutil.copytree(tiny_models / "topic" / "1", tmp_path / "topic" / "v1")
    shutil.copytree(tiny_models / "topic", tmp_path / "my topic")
    (tmp_path / "my notes").mkdir()
    (tmp_path / "topic" / "8").touch()
    with serving(tmp_path, "--workers", "1") as server, Client(server.address, timeout=60) as client:
        assert client.classify(["oil"], model="topic")[0].version == 123
        ignored = server.event("not a version: ignored", model="topic")
        assert ignored["names"] == ["8", "v1"]
        assert str(ignored["reason"]).startswith("8: not a folder; v1: a version's name is a whole number from 1 to")
        assert server.event("not a model name: ignored")["names"] == ["my topic"]
