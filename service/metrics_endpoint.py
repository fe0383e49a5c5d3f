"""The HTTP endpoint /metrics: what all workers count, as one true total, and what each process uses."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from mmap import mmap

import prometheus_client
import structlog
from prometheus_client.core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from service.config import Config
from service.errors import StartError
from service.metrics import FAMILIES
from service.series import Page, PagesCollector

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


@contextmanager
def metrics_endpoint(config: Config, worker_pages: Sequence[mmap], other_page: mmap) -> Iterator[None]:
    """Serves /metrics while the block runs.

    Raises:
        StartError: the port is taken.
    """
    workers = [Page(memory) for memory in worker_pages]
    registry = CollectorRegistry()
    registry.register(PagesCollector(FAMILIES, [*workers, Page(other_page)]))
    registry.register(ProcessesCollector(workers))
    prometheus_client.PlatformCollector(registry=registry)
    try:
        server, thread = prometheus_client.start_http_server(config.metrics_port, config.metrics_host, registry)
    except OSError as error:
        raise StartError(
            f"cannot serve metrics on {config.metrics_host}:{config.metrics_port}: {error.strerror}; choose"
            " another address with --metrics-host and --metrics-port"
        ) from error
    _log.info("metrics", host=config.metrics_host, port=server.server_port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
