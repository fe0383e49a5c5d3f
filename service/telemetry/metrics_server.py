"""The HTTP endpoint /metrics: what all workers count, as one true total, and what each process uses.

It is as open as gRPC is: encrypted with the same files, for clients with the same certificates and tokens. A browser
that opens its port is sent on to the page, which the workers serve on another.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from mmap import mmap
from typing import TYPE_CHECKING, Any

import prometheus_client
import structlog
from prometheus_client.core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from service.config import Config
from service.errors import StartError, Unauthenticated
from service.security.tls import server_context, tls_files
from service.security.tokens import Tokens
from service.telemetry.metrics import FAMILIES
from service.telemetry.shared_metrics import MetricsPage, PagesCollector

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_log = structlog.get_logger()

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]+)?")
"""A Host header: a name or an address, of IPv6 in brackets, and a port."""


class ProcessesCollector(Collector):
    """CPU time, memory, open files and start time of the processes that own pages, each labelled with its number.

    Args:
        pages: those of the workers, in their order.
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


def _authenticated(application: Any, tokens: Tokens) -> "WSGIApplication":
    """Wraps an application, so that only requests with a token reach it."""

    def respond(environment: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        try:
            tokens.check(environment.get("HTTP_AUTHORIZATION", ""))
        except Unauthenticated as error:
            start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer"), ("Content-Type", "text/plain")])
            return [f"{error}\n".encode()]
        answer: Iterable[bytes] = application(environment, start_response)
        return answer

    return respond


def _routed(metrics: "WSGIApplication", scheme: str, http_port: int | None) -> "WSGIApplication":
    """Serves metrics at /metrics alone; from / it sends to the page at the HTTP port, of the host that was asked."""

    def respond(environment: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path, method = environment["PATH_INFO"], environment["REQUEST_METHOD"]
        if path == "/metrics":
            return metrics(environment, start_response)
        headers = [("Content-Type", "text/plain; charset=utf-8")]
        host = _HOST.fullmatch(environment.get("HTTP_HOST", ""))
        if (method, path) != ("GET", "/"):
            status = "404 Not Found"
        elif host and http_port is not None:
            status = "307 Temporary Redirect"
            headers.append(("Location", f"{scheme}://{host[1]}:{http_port}/"))
        else:
            status = "200 OK"
        start_response(status, headers)
        return [b"Metrics are at /metrics.\n"]

    return respond


@contextmanager
def metrics_endpoint(
    config: Config, http_port: int | None, worker_pages: Sequence[mmap], other_pages: Sequence[mmap]
) -> Iterator[None]:
    """Serves /metrics while the block runs.

    Args:
        config: the server's configuration.
        http_port: the port of the HTTP routes and the page; None: there are none.
        worker_pages: what the workers count.
        other_pages: what is counted elsewhere.

    Raises:
        StartError: the port is taken, or a file for TLS or tokens cannot be used.
    """
    files = tls_files(config)
    context = server_context("certificates of metrics", files) if files else None
    tokens = Tokens(config.tokens) if config.tokens else None
    registry = CollectorRegistry()
    try:
        server, thread = prometheus_client.start_http_server(config.metrics_port, config.metrics_host, registry)
    except OSError as error:
        raise StartError(
            f"cannot serve metrics on {config.metrics_host}:{config.metrics_port}: {error.strerror}; choose"
            " another address with --metrics-host and --metrics-port"
        ) from error
    if context:
        # No handshake in the thread that accepts connections: a silent client would keep all others waiting.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    metrics = prometheus_client.make_wsgi_app(registry)
    if tokens:
        metrics = _authenticated(metrics, tokens)
    server.set_app(_routed(metrics, "https" if context else "http", http_port))
    # The server runs already; only now, when all is in place, it gets something to tell.
    workers = [MetricsPage(memory) for memory in worker_pages]
    registry.register(PagesCollector(FAMILIES, [*workers, *map(MetricsPage, other_pages)]))
    registry.register(ProcessesCollector(workers))
    prometheus_client.PlatformCollector(registry=registry)
    _log.info("metrics", host=config.metrics_host, port=server.server_port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
