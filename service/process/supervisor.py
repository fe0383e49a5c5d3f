"""The supervisor: runs the workers, which share the gRPC and HTTP ports, and the process that serves metrics.

It has one thread and loads no model, so it can fork at any time and little can go wrong in it. It replaces a child that
dies or whose main loop does not respond, after a pause that doubles while the child keeps dying. The server serves
while every child is ready.
"""

import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version as installed_version
from mmap import mmap
from typing import overload

import structlog
import uvloop

from service.address import socket_path
from service.config import Config
from service.errors import StartError
from service.grpc.transport import choose_transport
from service.process.child_pipe import ChildEnd, Failure, Signal, SupervisorEnd, child_pipe
from service.process.cpus import available_cpus, worker_count
from service.process.heartbeat import BEATS
from service.process.open_files import raise_limit
from service.process.ports import reserve, reserve_unix_socket
from service.process.worker import serve
from service.telemetry.metrics import LOG_DROPPED, RESTARTS
from service.telemetry.metrics_server import metrics_endpoint
from service.telemetry.shared_metrics import PAGE_BYTES, Counter, MetricsPage
from service.telemetry.standard_error import NonBlockingStderr
from textmodel import ModelError

_log = structlog.get_logger()

FIRST_PAUSE = 0.1
MAX_PAUSE = 10.0
"""The first and the longest pause, in seconds, before a child that died is started again."""
STEADY = 10.0
"""A child that has run for so many seconds before it dies is restarted after the first pause again."""
KILL_AFTER = 5.0
"""A child that does not stop is killed this number of seconds after the grace period."""
START_PATIENCE = 60.0
"""Maximum number of seconds without a heartbeat while a child starts. Its imports run before its event loop."""
LOAD_PATIENCE = 12
"""While a child loads a model, it may be silent for this multiple of the heartbeat timeout."""
MAX_EQUAL_FAILURES = 3
"""If the server never served, it ends when a child has failed to start this many times for the same reason."""
_OVERSLEPT = 1.0
"""If the supervisor wakes up this number of seconds too late, it was stopped itself, as by a suspended machine, and its
children with it."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


@dataclass
class _Child:
    """A process to keep running. `end` is None while it does not run."""

    name: str
    work: Callable[[ChildEnd], None]
    pid: int = 0
    end: SupervisorEnd | None = None
    ready: bool = False
    started: float = 0.0
    pause: float = FIRST_PAUSE
    due: float = 0.0
    heard: float = 0.0
    patience: float = START_PATIENCE
    failure: Failure | None = None
    equal_failures: int = 0
    explained: bool = False
    """Whether the process, since its last start, has reported why it fails."""

    def postpone(self, now: float) -> None:
        """Schedules the next start after a pause, and doubles the pause after that."""
        self.due = now + self.pause
        self.pause = min(2 * self.pause, MAX_PAUSE)


class Supervisor:
    """Runs the server's processes.

    Args:
        config: the server's configuration.
        log_output: where the process's log lines go.

    Raises:
        StartError: a gRPC or HTTP port is taken.
    """

    def __init__(self, config: Config, log_output: NonBlockingStderr) -> None:
        self._config = config
        self._log_output = log_output
        self._socket = path = socket_path(config.host)
        self._port = reserve_unix_socket(path) if path else reserve(config.host, config.port, "--port")
        self._health_port = reserve(config.host, config.health_port, "--health-port") if config.health_port else None
        self._http_port = None if config.http_port is None else reserve(config.host, config.http_port, "--http-port")
        cpus = available_cpus()
        workers = 1 if path else worker_count(config.workers, cpus)  # processes cannot share a Unix domain socket
        self._check_limits(workers, cpus)
        # Together the workers have as many threads as there are CPUs: of TensorFlow, and of the native transport.
        self._threads_each = max(1, cpus // workers)
        try:
            self._pages = [mmap(-1, PAGE_BYTES) for _ in range(workers)]
            self._native_pages = [mmap(-1, PAGE_BYTES) for _ in range(workers)]
            self._own_memory = mmap(-1, PAGE_BYTES)
        except OSError as error:
            size = (2 * workers + 1) * PAGE_BYTES >> 20
            raise StartError(
                f"no address space for the metrics, {size} MiB: {error.strerror}; raise the limit (ulimit -v), or take"
                " fewer --workers"
            ) from error
        own_page = MetricsPage(self._own_memory)
        self._restarts = Counter(own_page, RESTARTS)
        log_output.on_drop = Counter(own_page, LOG_DROPPED).add
        self._workers = [_Child(f"worker {number}", self._worker(number)) for number in range(workers)]
        self._metrics = _Child("metrics", self._serve_metrics)
        self._selector = selectors.DefaultSelector()
        self._has_served = False
        self._misses_socket = False
        self._kill_at: float | None = None  # set when stopping
        self._status = 0

    def _check_limits(self, workers: int, cpus: int) -> None:
        """Logs what the machine does not allow.

        Raises:
            StartError: the server cannot start with so few open files.
        """
        if workers < self._config.workers:
            reason = f"at most {workers} workers can be of use on {cpus} CPU{'s' if cpus > 1 else ''}"
            _log.warning("fewer workers", asked=self._config.workers, workers=workers, reason=reason)
        if few := raise_limit(children=workers + 1):
            _log.warning("few open files", reason=few)

    @property
    def _children(self) -> list[_Child]:
        return [*self._workers, self._metrics]

    def run(self) -> int:
        """Runs until SIGTERM or SIGINT, or until the server has failed to start. Returns the exit status."""
        self._listen_to_signals()
        version, host, workers = installed_version("text-classifier"), self._config.host, len(self._workers)
        ports = {"port": _port(self._port), "http_port": _port(self._http_port)}
        transport = choose_transport(self._config).name
        _log.info("started", version=version, host=host, **ports, workers=workers, transport=transport)
        while self._kill_at is None or any(child.end for child in self._children):
            self._start_due_child()
            self._wait()
            self._reap()
        if self._socket:
            self._socket.unlink(missing_ok=True)
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signal_number, signal.SIG_IGN)  # a second signal must not kill the process now
        _log.info("stopped")
        return self._status

    def _worker(self, number: int) -> Callable[[ChildEnd], None]:
        def work(end: ChildEnd) -> None:
            structlog.contextvars.bind_contextvars(worker=number)
            for kind in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):  # read when TensorFlow is imported
                os.environ.setdefault(kind, str(self._threads_each))
            page = MetricsPage(self._pages[number], owner=os.getpid())
            pages = (page, MetricsPage(self._native_pages[number]))
            self._log_output.on_drop = Counter(page, LOG_DROPPED).add
            # While other workers serve, a worker without a model may not accept connections: it fails and is restarted.
            require_model = "on" if self._has_served else self._config.require_model
            config = replace(self._config, require_model=require_model)
            all_pages = [MetricsPage(memory) for memory in self._pages]
            ports = _port(self._port), _port(self._http_port)
            uvloop.run(serve(config, *ports, pages, end, threads=self._threads_each, all_pages=all_pages))

        return work

    def _serve_metrics(self, end: ChildEnd) -> None:
        with metrics_endpoint(
            self._config, _port(self._http_port), self._pages, [*self._native_pages, self._own_memory]
        ):
            end.ready()
            end.wait(self._config.heartbeat_timeout / BEATS)

    def _listen_to_signals(self) -> None:
        """Makes signals wake up the selector, as bytes on a socket."""
        self._wakeup, sending = socket.socketpair()
        sending.setblocking(False)
        signal.set_wakeup_fd(sending.detach())
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        self._selector.register(self._wakeup, selectors.EVENT_READ)

    def _start_due_child(self) -> None:
        """Starts a child that is due. Others follow after a look at signals, so that these need not wait for all."""
        now = time.monotonic()
        due = (child for child in self._children if child.end is None and child.due <= now)
        if self._kill_at is None and (child := next(due, None)):
            self._start(child)

    def _start(self, child: _Child) -> None:
        try:
            pid = self._fork(child)
        except OSError as error:  # too many processes or open files, too little memory: the others go on
            child.postpone(time.monotonic())
            reason = f"cannot start another process, {child.name}: {error.strerror}"
            self._note_failure(child, Failure(reason, permanent=False))
            return
        assert child.end
        child.pid, child.started = pid, time.monotonic()
        child.heard, child.patience, child.explained = child.started, START_PATIENCE, False
        self._selector.register(child.end, selectors.EVENT_READ, child)

    def _fork(self, child: _Child) -> int:
        """Starts the child's process with a pipe to it. Returns its number.

        Raises:
            OSError: the system has no room for it.
        """
        child.end, child_end = child_pipe()
        # Signals are blocked, so that none reaches the child before it has handlers of its own.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                self._run_child(child, child_end)
        except OSError:
            child.end.close()
            child.end = None
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            child_end.close()
        return pid

    def _run_child(self, child: _Child, end: ChildEnd) -> None:
        """Does the child's work in the process just forked, and ends it."""
        status = 1
        try:
            for any_child in self._children:
                if any_child.end:
                    any_child.end.close()  # with a copy open here, that child would not see the supervisor's end
            self._selector.close()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number in (signal.SIGINT, signal.SIGHUP):  # a terminal sends them to all; the supervisor handles them
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            child.work(end)
            status = 0
        except (StartError, ModelError) as error:
            end.failed(str(error), permanent=True)
        except BaseException as error:
            _log.exception("failed", process=child.name)
            end.failed(f"{child.name}: {type(error).__name__}: {error}", permanent=False)
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _wait(self) -> None:
        """Waits for signals, messages of children, and the next due time, and handles them."""
        timeout = self._seconds_until_due()
        before = time.monotonic()
        ready = self._selector.select(timeout)
        overslept = timeout is not None and time.monotonic() > before + timeout + _OVERSLEPT
        for key, _ in ready:
            if key.data:
                self._receive(key.data, key.data.end)
            else:
                received = set(self._wakeup.recv(4096))
                if {signal.SIGTERM, signal.SIGINT} & received:
                    self._stop()
                elif signal.SIGHUP in received:
                    _log.info("scan requested", folder=str(self._config.models))
                    _send(signal.SIGHUP, self._workers)  # they scan the models folder
        if self._kill_at is None:
            self._kill_silent_children(overslept)
            self._check_socket()
        elif time.monotonic() >= self._kill_at:
            _send(signal.SIGKILL, self._children)

    def _seconds_until_due(self) -> float | None:
        if self._kill_at is not None:
            due = [self._kill_at]
        else:
            due = [child.heard + child.patience if child.end else child.due for child in self._children]
            if not self._config.heartbeat_timeout:
                due = [child.due for child in self._children if not child.end]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _kill_silent_children(self, overslept: bool) -> None:
        """Kills the children that have sent no heartbeat for too long. Their end is then treated as any other."""
        now = time.monotonic()
        for child in self._children:
            if not child.end or not self._config.heartbeat_timeout:
                continue
            if overslept:
                child.heard = now  # the child may have been stopped for as long as this process
            elif now >= child.heard + child.patience:
                _log.error("does not respond", process=child.name, pid=child.pid, seconds=round(now - child.heard, 1))
                os.kill(child.pid, signal.SIGKILL)
                child.heard = now

    def _check_socket(self) -> None:
        """Logs once that the Unix domain socket was removed, after which no client can connect."""
        if self._socket and all(worker.ready for worker in self._workers):
            missing = not self._socket.is_socket()
            if missing and not self._misses_socket:
                _log.error("socket removed", host=self._config.host, reason="no client can connect: restart the server")
            self._misses_socket = missing

    def _receive(self, child: _Child, end: SupervisorEnd) -> None:
        for message in end.receive():
            child.heard = time.monotonic()
            if isinstance(message, Failure):
                self._note_failure(child, message)
            else:
                child.patience = self._config.heartbeat_timeout * (LOAD_PATIENCE if message is Signal.LOADING else 1)
            if message is Signal.READY:
                child.ready, child.failure, child.equal_failures = True, None, 0
                _log.info("ready", process=child.name, pid=child.pid)
                self._tell()

    def _note_failure(self, child: _Child, failure: Failure) -> None:
        """Records why a child could not start. If the server has never served, it is misconfigured, and ends."""
        child.equal_failures = child.equal_failures + 1 if failure == child.failure else 1
        child.failure, child.explained = failure, True
        if self._has_served:
            _log.error("cannot restart", process=child.name, reason=failure.reason)
        elif self._kill_at is None and (failure.permanent or child.equal_failures >= MAX_EQUAL_FAILURES):
            _log.error("cannot start", reason=failure.reason)
            self._status = 1
            self._stop()

    def _reap(self) -> None:
        """Collects ended processes: children, and, as process 1, orphans."""
        while (ended := _next_ended()) is not None:
            pid, status = ended
            for child in self._children:
                if child.end and child.pid == pid:
                    self._child_exited(child, status)
        if self._kill_at is not None and not any(worker.end for worker in self._workers):
            self._dismiss(self._metrics.end)  # last, so that a scrape may still see how the others ended

    def _child_exited(self, child: _Child, status: int) -> None:
        """Cleans up after a child that has ended, and schedules its next start."""
        end, child.end = child.end, None  # from now on no signal is sent to its process id, which may be reused
        if end and end.fileno() != -1:
            self._receive(child, end)
            self._dismiss(end)
            if not child.ready and not child.explained and self._kill_at is None:
                self._note_failure(child, Failure(f"{child.name} {_end(status)} while it started", permanent=False))
        child.ready = False
        if self._kill_at is not None:
            return
        now = time.monotonic()
        if now - child.started >= STEADY:
            child.pause = FIRST_PAUSE
        _log.error("died", process=child.name, pid=child.pid, restart_in=child.pause)
        child.postpone(now)
        self._restarts.add()
        self._tell()

    def _dismiss(self, end: SupervisorEnd | None) -> None:
        """Closes the pipe of a child. A child that still runs then stops."""
        if end and end.fileno() != -1:
            self._selector.unregister(end)
            end.close()

    def _tell(self) -> None:
        """Tells the workers whether the server serves: whether every child is ready."""
        serving = all(child.ready for child in self._children)
        if serving:
            _log.info("serving", host=self._config.host, port=_port(self._port))
        self._has_served |= serving
        for worker in self._workers:
            if worker.end:
                worker.end.tell(serving)

    def _stop(self) -> None:
        """Asks the workers, once, to finish their requests and stop."""
        if self._kill_at is None:
            _log.info("stopping", grace_period=self._config.grace_period)
            self._kill_at = time.monotonic() + self._config.grace_period + KILL_AFTER
            _send(signal.SIGTERM, self._workers)


def _send(number: signal.Signals, children: Sequence[_Child]) -> None:
    """Sends a signal to the children that run."""
    for child in children:
        if child.end:
            os.kill(child.pid, number)


def _next_ended() -> tuple[int, int] | None:
    """Returns the id and the wait status of a child process that has ended; None if none has."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None


def _end(status: int) -> str:
    """Returns how a process ended, given its wait status."""
    if os.WIFSIGNALED(status):
        return f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exited with status {os.waitstatus_to_exitcode(status)}"


@overload
def _port(reserved: socket.socket) -> int: ...
@overload
def _port(reserved: socket.socket | None) -> int | None: ...
def _port(reserved: socket.socket | None) -> int | None:
    """Returns the number of a reserved port; 0 for a Unix domain socket, None without a port."""
    if reserved is None:
        return None
    return 0 if reserved.family == socket.AF_UNIX else int(reserved.getsockname()[1])
