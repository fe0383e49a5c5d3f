"""The HTTP endpoint /metrics: what all workers count, as one true total, and what each process uses.

It is as open as gRPC is: encrypted with the same files, for clients with the same certificates and tokens.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from mmap import mmap
from typing import TYPE_CHECKING, Any

import prometheus_client
import structlog
from prometheus_client.core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from service.authentication import Tokens
from service.config import Config
from service.errors import StartError, Unauthenticated
from service.metrics import FAMILIES
from service.series import Page, PagesCollector
from service.tls import server_context, tls_files

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_log = structlog.get_logger()


class ProcessesCollector(Collector):
    """CPU time, memory, open files and start time of the processes that own pages, each labelled with its number.

    Args:
        pages: those of the workers, in their order.
    """

    def __init__(self, pages: Sequence[Page]) -> None:
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


@contextmanager
def metrics_endpoint(config: Config, worker_pages: Sequence[mmap], other_page: mmap) -> Iterator[None]:
    """Serves /metrics while the block runs.

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
    if tokens:
        server.set_app(_authenticated(server.get_app(), tokens))
    # The server runs already; only now, when all is in place, it gets something to tell.
    workers = [Page(memory) for memory in worker_pages]
    registry.register(PagesCollector(FAMILIES, [*workers, Page(other_page)]))
    registry.register(ProcessesCollector(workers))
    prometheus_client.PlatformCollector(registry=registry)
    _log.info("metrics", host=config.metrics_host, port=server.server_port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
