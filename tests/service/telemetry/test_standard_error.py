"""Standard error that is not read: lines are lost, not the server."""

import fcntl
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.server_process import ROOT, UNPRIVILEGED
from text_classifier import Client

WRITE_LINES = """
import sys
from service.telemetry.standard_error import NonBlockingStderr
dropped = 0
def count():
    global dropped
    dropped += 1
output = NonBlockingStderr(lambda lines: f"{lines} lost\\n")
output.on_drop = count
for number in range(3000):
    output.write(f"{number:0100}\\n")
print(dropped, flush=True)
sys.stdin.readline()
output.write("read again\\n")
"""


def pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    return reading, writing


def foreign_pipe() -> tuple[int, int]:
    if os.geteuid():
        pytest.skip("needs root, to give a pipe to another user")
    reading, writing = os.pipe()
    os.fchown(writing, 65534, 65534)
    return reading, writing


def stream() -> tuple[int, int]:
    reading, writing = socket.socketpair()
    return reading.detach(), writing.detach()


def terminal() -> tuple[int, int]:
    reading, writing = os.openpty()
    return reading, writing


def drain(reading: int) -> bytes:
    """Reads what there is."""
    found = b""
    while select.select([reading], [], [], 0)[0]:
        try:
            part = os.read(reading, 65536)
        except OSError:  # the other side of a terminal has gone
            break
        if not part:
            break
        found += part
    return found


@pytest.mark.parametrize(
    ("kind", "run_by"),
    [(pipe, ()), (foreign_pipe, UNPRIVILEGED), (stream, ()), (terminal, ())],
    ids=["pipe", "another user's pipe", "socket", "terminal"],
)
def test_lines_that_nobody_reads_are_dropped_whole_and_counted(
    kind: Callable[[], tuple[int, int]], run_by: Sequence[str]
) -> None:
    reading, writing = kind()
    flags = fcntl.fcntl(writing, fcntl.F_GETFL)
    command = [*run_by, sys.executable, "-c", WRITE_LINES]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writing, text=True
    ) as process:
        assert process.stdout
        assert process.stdin
        dropped = int(process.stdout.readline())
        assert 0 < dropped < 3000
        assert fcntl.fcntl(writing, fcntl.F_GETFL) == flags  # others that share the descriptor still wait
        written = drain(reading)
        process.stdin.write("\n")
        process.stdin.flush()
        process.wait(60)
        written += drain(reading)
    # A terminal may make room in between: then there is a report of those that were lost up to there.
    *lines, report, last = written.decode().splitlines()
    reports = [line for line in [*lines, report] if line.endswith(" lost")]
    numbers = [line for line in lines if line not in reports]
    assert (report, last) == (reports[-1], "read again")
    assert sum(int(each.removesuffix(" lost")) for each in reports) == dropped
    assert numbers == [f"{number:0100}" for number in sorted(set(map(int, numbers)))]
    assert len(numbers) + dropped == 3000
    os.close(reading)
    os.close(writing)


def test_a_file_that_is_appended_to_by_several_keeps_all_lines(tmp_path: Path) -> None:
    program = "from service.telemetry.standard_error import NonBlockingStderr\n"
    program += "output = NonBlockingStderr(str)\nfor _ in range(100): output.write('x' * 50 + chr(10))"
    with (tmp_path / "log").open("a") as log:
        runs = [subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=log) for _ in range(2)]
        assert [run.wait(60) for run in runs] == [0, 0]
    assert (tmp_path / "log").read_text().splitlines() == ["x" * 50] * 200


@pytest.mark.parametrize("kind", [pipe, stream, terminal])
def test_lines_are_written_while_what_libraries_print_is_hidden(kind: Callable[[], tuple[int, int]]) -> None:
    program = """
import os
from service.telemetry.standard_error import NonBlockingStderr
from textmodel.standard_error import stderr_hidden
output = NonBlockingStderr(str)
with stderr_hidden():
    os.write(2, b"hidden\\n")
    output.write("shown\\n")
os.write(2, b"after\\n")
"""
    reading, writing = kind()
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, stderr=writing, check=True)
    assert drain(reading).decode().split() == ["shown", "after"]
    os.close(reading)
    os.close(writing)


def test_a_server_answers_while_its_log_is_not_read_and_counts_what_it_drops(tiny_models: Path) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 16384)
    command = [sys.executable, "-m", "service", "--models", str(tiny_models), "--workers", "1", "--access-log", "on"]
    command += ["--port", "0", "--http-port", "0", "--metrics-port", "0", "--log-format", "json"]
    with subprocess.Popen(command, cwd=ROOT, stderr=writing) as server, os.fdopen(reading, "rb", 0) as log:
        os.close(writing)
        try:
            seen: dict[str, Any] = {}
            while "serving" not in seen:
                line = json.loads(log.readline())
                seen[line["event"]] = line
            with Client(f"127.0.0.1:{seen['started']['port']}", timeout=60) as client:
                for _ in range(300):
                    client.classify(["oil"], model="topic")
                drain(log.fileno())
                client.classify(["oil"], model="topic")
                report = json.loads(log.readline())
            assert report["event"] == "log lines dropped: standard error was not read"
            assert report["lines"] > 100
            assert json.loads(log.readline())["event"] == "call"
        finally:
            server.terminate()
            assert server.wait(120) == 0
