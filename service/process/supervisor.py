"""The supervisor: runs the workers, processes that share the ports of gRPC and HTTP, and the one that serves metrics.

It has one thread and loads no model, so it can fork at any time and little can go wrong in it. A child that dies is
started again, after a pause that doubles while it keeps dying. The server serves while every child is ready.
"""

import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from mmap import mmap
from typing import overload

import structlog
import uvloop

from service.config import Config
from service.errors import StartError
from service.grpc.transport import choose_transport
from service.process.child_pipe import ChildEnd, Failure, SupervisorEnd, lifeline
from service.process.worker import serve
from service.telemetry.metrics import RESTARTS
from service.telemetry.metrics_server import metrics_endpoint
from service.telemetry.shared_metrics import PAGE_BYTES, Counter, MetricsPage
from textmodel import ModelError

_log = structlog.get_logger()

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0
"""Seconds before a child that died is started again: the first time, and at most."""
STEADY = 10.0
"""Seconds after which a child that dies is taken to have run well: the pause starts small again."""
KILL_AFTER = 5.0
"""Seconds beyond the grace period after which a child that does not stop is killed."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


@dataclass
class _Child:
    """A process that is to run. `end` is None while it does not."""

    name: str
    work: Callable[[ChildEnd], None]
    pid: int = 0
    end: SupervisorEnd | None = None
    ready: bool = False
    started: float = 0.0
    pause: float = FIRST_PAUSE
    due: float = 0.0


class Supervisor:
    """Runs the server's processes.

    Args:
        config: the server's configuration.

    Raises:
        StartError: a gRPC port is taken.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._port = _reserve(config.host, config.port, "--port")
        self._health_port = _reserve(config.host, config.health_port, "--health-port") if config.health_port else None
        self._http_port = None if config.http_port is None else _reserve(config.host, config.http_port, "--http-port")
        cpus = len(os.sched_getaffinity(0))
        workers = config.workers or cpus
        # Together the workers' TensorFlows have as many threads as there are CPUs.
        self._threads_each = max(1, cpus // workers)
        self._pages = [mmap(-1, PAGE_BYTES) for _ in range(workers)]
        self._own_page = mmap(-1, PAGE_BYTES)
        self._restarts = Counter(MetricsPage(self._own_page), RESTARTS)
        self._workers = [_Child(f"worker {number}", self._worker(number)) for number in range(workers)]
        self._metrics = _Child("metrics", self._serve_metrics)
        self._selector = selectors.DefaultSelector()
        self._has_served = False
        self._kill_at: float | None = None  # set when stopping
        self._status = 0

    @property
    def _children(self) -> list[_Child]:
        return [*self._workers, self._metrics]

    def run(self) -> int:
        """Runs until SIGTERM or SIGINT, or until it turns out that the server cannot start. Returns the exit status."""
        version, host, workers = installed_version("text-classifier"), self._config.host, len(self._workers)
        ports = {"port": _port(self._port), "http_port": _port(self._http_port)}
        transport = choose_transport(self._config).name
        _log.info("started", version=version, host=host, **ports, workers=workers, transport=transport)
        self._listen_to_signals()
        while self._kill_at is None or any(child.end for child in self._children):
            self._start_what_is_due()
            self._wait()
            self._reap()
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signal_number, signal.SIG_IGN)  # a second one must not turn this end into a death
        _log.info("stopped")
        return self._status

    def _worker(self, number: int) -> Callable[[ChildEnd], None]:
        def work(end: ChildEnd) -> None:
            structlog.contextvars.bind_contextvars(worker=number)
            for kind in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):  # read when TensorFlow is imported
                os.environ.setdefault(kind, str(self._threads_each))
            page = MetricsPage(self._pages[number], owner=os.getpid())
            uvloop.run(serve(self._config, _port(self._port), _port(self._http_port), page, end))

        return work

    def _serve_metrics(self, end: ChildEnd) -> None:
        with metrics_endpoint(self._config, _port(self._http_port), self._pages, self._own_page):
            end.ready()
            end.wait()

    def _listen_to_signals(self) -> None:
        """Turns signals into readable bytes, for the rest of this process's life."""
        self._wakeup, sending = socket.socketpair()
        sending.setblocking(False)
        signal.set_wakeup_fd(sending.detach())
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        self._selector.register(self._wakeup, selectors.EVENT_READ)

    def _start_what_is_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if self._kill_at is None and child.end is None and child.due <= now:
                self._start(child)

    def _start(self, child: _Child) -> None:
        child.end, child_end = lifeline()
        # Blocked, so that no signal reaches the child before it has handlers of its own.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if pid == 0:
            self._run_child(child, child_end)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        child_end.close()
        child.pid, child.started = pid, time.monotonic()
        self._selector.register(child.end, selectors.EVENT_READ, child)

    def _run_child(self, child: _Child, end: ChildEnd) -> None:
        """Does the child's work in the process just forked, and ends it."""
        status = 1
        try:
            for any_child in self._children:
                if any_child.end:
                    any_child.end.close()  # a copy kept here would hide from that child that the supervisor has gone
            self._selector.close()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number in (signal.SIGINT, signal.SIGHUP):  # from a terminal they reach all; the supervisor decides
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            child.work(end)
            status = 0
        except (StartError, ModelError) as error:
            end.failed(str(error))
        except BaseException:
            _log.exception("failed", process=child.name)
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _wait(self) -> None:
        """Waits for signals, for words of children, and for what is due."""
        starts = [child.due for child in self._children if child.end is None]
        due = starts if self._kill_at is None else [self._kill_at]
        timeout = max(0.0, min(due) - time.monotonic()) if due else None
        for key, _ in self._selector.select(timeout):
            if key.data:
                self._receive(key.data)
            else:
                received = set(self._wakeup.recv(4096))
                if {signal.SIGTERM, signal.SIGINT} & received:
                    self._stop()
                elif signal.SIGHUP in received:
                    self._signal(signal.SIGHUP)  # the workers look at the models
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._signal(signal.SIGKILL)

    def _receive(self, child: _Child) -> None:
        assert child.end
        said = child.end.receive()
        if said is True:
            child.ready = True
            _log.info("ready", process=child.name, pid=child.pid)
            self._tell()
        elif isinstance(said, Failure) and self._has_served:
            _log.error("cannot restart", process=child.name, reason=said.reason)
        elif isinstance(said, Failure) and self._kill_at is None:
            # What never served is set up wrongly: starting it again would not help.
            _log.error("cannot start", reason=said.reason)
            self._status = 1
            self._stop()

    def _reap(self) -> None:
        for child in self._children:
            if child.end and os.waitpid(child.pid, os.WNOHANG)[0]:
                self._child_exited(child)
        if self._kill_at is not None and not any(worker.end for worker in self._workers):
            self._dismiss(self._metrics)  # last, so that a scrape may still see how the others ended

    def _child_exited(self, child: _Child) -> None:
        """Lets go of a child that has ended, and plans its next start."""
        self._dismiss(child)
        child.end, child.ready = None, False
        if self._kill_at is not None:
            return
        now = time.monotonic()
        if now - child.started >= STEADY:
            child.pause = FIRST_PAUSE
        child.due = now + child.pause
        _log.error("died", process=child.name, pid=child.pid, restart_in=child.pause)
        child.pause = min(2 * child.pause, LONGEST_PAUSE)
        self._restarts.add()
        self._tell()

    def _dismiss(self, child: _Child) -> None:
        """Closes the child's lifeline, at which it ends if it has not."""
        if child.end and child.end.fileno() != -1:
            self._selector.unregister(child.end)
            child.end.close()

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
        """Asks the workers to finish what they have, once."""
        if self._kill_at is None:
            _log.info("stopping", grace_period=self._config.grace_period)
            self._kill_at = time.monotonic() + self._config.grace_period + KILL_AFTER
            self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.end:
                os.kill(worker.pid, number)


@overload
def _port(reserved: socket.socket) -> int: ...
@overload
def _port(reserved: socket.socket | None) -> int | None: ...
def _port(reserved: socket.socket | None) -> int | None:
    """Returns the number of a port that is reserved, if there is one."""
    return reserved.getsockname()[1] if reserved else None


def _reserve(host: str, port: int, option: str) -> socket.socket:
    """Takes a port for the workers: bound, so that it stays the server's own, but not listening.

    Raises:
        StartError: another process has it.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # Without SO_REUSEPORT the port is only free if nobody has it; with it, if nobody without it has.
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            address = probe.getsockname()
        reserved = socket.socket(family, kind, protocol)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(address)
    except OSError as error:
        raise StartError(
            f"cannot listen on {host}:{port}: {error.strerror}; is another server running there? Choose another port"
            f" with {option}"
        ) from error
    return reserved
