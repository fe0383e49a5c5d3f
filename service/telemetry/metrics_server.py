"""The HTTP endpoint /metrics: totals over all workers, and the resources that each worker process uses.

The TLS files, client certificates and tokens of gRPC protect it too. It redirects a browser from `/` to the web page on
the HTTP port.
"""

import io
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from mmap import mmap
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import prometheus_client
import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from service.address import address, listening_socket
from service.config import Config
from service.errors import ForeignHost, StartError, Unauthenticated
from service.security.certificate_validity import validity
from service.security.hosts import AllowedHosts, host_name
from service.security.tls import TlsFiles, server_context, tls_files
from service.security.tokens import Tokens
from service.telemetry.metrics import FAMILIES
from service.telemetry.shared_metrics import MetricsPage, PagesCollector

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_log = structlog.get_logger()

MAX_CONNECTIONS = 64
"""Maximum number of open connections, each with a thread. Beyond that, a new one replaces the oldest."""
READ_SECONDS = 10.0
"""Maximum time that the server waits for data on a connection."""


class ProcessesCollector(Collector):
    """Collects CPU time, memory, open files and start time of the worker processes, with the label `worker`.

    Args:
        pages: the metrics pages of the workers, in order. Their owners are the processes.
    """

    def __init__(self, pages: Sequence[MetricsPage]) -> None:
        self._collectors = [
            prometheus_client.ProcessCollector(pid=lambda page=page: page.owner, registry=None)  # type: ignore[misc]
            for page in pages
        ]

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics of `prometheus_client.ProcessCollector` with the label `worker`."""
        merged: dict[str, Metric] = {}
        for number, collector in enumerate(self._collectors):
            for metric in collector.collect():
                samples = [sample._replace(labels={"worker": str(number)}) for sample in metric.samples]
                merged.setdefault(
                    metric.name, Metric(metric.name, metric.documentation, metric.type)
                ).samples += samples
        yield from merged.values()


class CertificateCollector(Collector):
    """Collects when the server's certificate expires, from its file, which all processes reload."""

    def __init__(self, files: TlsFiles) -> None:
        self._certificate = files.certificate

    def collect(self) -> Iterator[Metric]:
        """Yields the time as a gauge; nothing while the file cannot be read."""
        if valid := validity(self._certificate):
            yield GaugeMetricFamily(
                "text_classifier_tls_certificate_expiry_timestamp_seconds",
                "When the first certificate of --tls-cert expires, as Unix time.",
                valid.end.timestamp(),
            )


def _authenticated(application: Any, tokens: Tokens) -> "WSGIApplication":
    """Wraps an application, so that only requests with a valid token reach it."""

    def respond(environment: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        try:
            tokens.check(environment.get("HTTP_AUTHORIZATION", ""))
        except Unauthenticated as error:
            start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer"), ("Content-Type", "text/plain")])
            return [f"{error}\n".encode()]
        answer: Iterable[bytes] = application(environment, start_response)
        return answer

    return respond


def _routed(metrics: "WSGIApplication", hosts: AllowedHosts, page: str) -> "WSGIApplication":
    """Serves metrics at /metrics, and redirects / to `page`, in which `{host}` stands for the host of the request.

    It does not redirect to a host that is not known to be the server's.
    """

    def respond(environment: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path, method = environment["PATH_INFO"], environment["REQUEST_METHOD"]
        host = environment.get("HTTP_HOST", "")
        headers = [("Content-Type", "text/plain; charset=utf-8")]
        if not hosts.allow(host):
            start_response("421 Misdirected Request", headers)
            return [f"{ForeignHost(host)}\n".encode()]
        if path == "/metrics":
            try:
                return metrics(environment, start_response)
            except Exception:
                _log.exception("metrics failed")
                raise
        if (method, path) != ("GET", "/"):
            status = "404 Not Found"
        elif page and hosts.known is not None:
            status = "307 Temporary Redirect"
            headers.append(("Location", page.format(host=host_name(host))))
        else:
            status = "200 OK"
        start_response(status, headers)
        return [b"Metrics are at /metrics.\n"]

    return respond


class _Handler(WSGIRequestHandler):
    timeout = READ_SECONDS

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing, since a client could fill the log."""

    def get_stderr(self) -> Any:
        """Returns what takes the tracebacks of connections that fail while a response is sent, for the same reason."""
        return io.StringIO()


class _Server(ThreadingMixIn, WSGIServer):
    """A WSGI server with a thread for each connection, and a maximum number of connections.

    Args:
        listener: the listening socket.
    """

    daemon_threads = True

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_name, self.server_port = listener.getsockname()[:2]
        self.setup_environ()
        self._lock = threading.Lock()
        self._open: dict[Any, None] = {}

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answers a connection in a thread."""
        with self._lock:
            if len(self._open) >= MAX_CONNECTIONS:
                oldest = next(iter(self._open))
                del self._open[oldest]
                with suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)  # its thread ends
            self._open[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Closes a connection."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Logs nothing about a connection that failed, or that did not speak HTTP or TLS."""


@contextmanager
def metrics_endpoint(
    config: Config, http_port: int | None, worker_pages: Sequence[mmap], other_pages: Sequence[mmap]
) -> Iterator[None]:
    """Serves /metrics during the block.

    Args:
        config: the server's configuration.
        http_port: the port of the HTTP routes and the web page; None: no HTTP.
        worker_pages: the metrics pages of the workers.
        other_pages: all other metrics pages.

    Raises:
        StartError: the port is taken, or a file for TLS or tokens cannot be used.
    """
    files = tls_files(config)
    context = server_context("certificates of metrics", files) if files else None
    workers = [MetricsPage(memory) for memory in worker_pages]
    metrics = prometheus_client.make_wsgi_app(
        _registry(workers, [MetricsPage(memory) for memory in other_pages], files)
    )
    if config.tokens:
        metrics = _authenticated(metrics, Tokens(config.tokens))
    page = "" if http_port is None else f"{'https' if context else 'http'}://{{host}}:{http_port}/"
    hosts = AllowedHosts(config.metrics_host, ("*",) if "*" in config.allowed_hosts else ())
    with _Server(_listener(config, context)) as server:
        server.set_app(_routed(metrics, hosts, page))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        _log.info("metrics", host=config.metrics_host, port=server.server_port)
        try:
            yield
        finally:
            ending = threading.Thread(target=server.shutdown)
            ending.start()
            server.socket.shutdown(socket.SHUT_RDWR)  # else the server notices at its next poll, twice a second
            ending.join()
            thread.join()


def _listener(config: Config, context: ssl.SSLContext | None) -> socket.socket:
    try:
        listener = listening_socket(config.metrics_host, config.metrics_port, shared=False)
    except OSError as error:
        raise StartError(
            f"cannot serve metrics on {address(config.metrics_host, config.metrics_port)}: {error.strerror}; choose"
            " another address with --metrics-host and --metrics-port"
        ) from error
    if context is None:
        return listener
    # The thread that accepts connections does no handshakes, in which a silent client would block all others.
    return context.wrap_socket(listener, server_side=True, do_handshake_on_connect=False)


def _registry(
    workers: Sequence[MetricsPage], others: Sequence[MetricsPage], files: TlsFiles | None
) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(PagesCollector(FAMILIES, [*workers, *others]))
    registry.register(ProcessesCollector(workers))
    prometheus_client.PlatformCollector(registry=registry)
    if files:
        registry.register(CertificateCollector(files))
    return registry
