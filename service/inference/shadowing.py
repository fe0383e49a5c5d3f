"""Starts the shadow versions that the configuration names, with their share of requests and the capture of texts."""

from collections.abc import Sequence

from service.config import Config
from service.inference.capture import Capture
from service.inference.servable import Servable
from service.inference.shadow import Shadow
from service.telemetry.shadow_metrics import CaptureMetrics, ShadowMetrics
from service.telemetry.shared_metrics import MetricsPage


class Shadowing:
    """Starts a worker's shadow versions.

    Args:
        config: the server's configuration.
        page: the memory for this worker's metrics.
        pages: the memory for all workers' metrics, from which agreement is computed.

    Raises:
        StartError: the capture folder cannot be written to.
    """

    def __init__(self, config: Config, page: MetricsPage, pages: Sequence[MetricsPage]) -> None:
        self._share, self._page, self._pages = config.shadow_share, page, pages
        self._capture: Capture | None = None
        if config.capture:
            share, size = config.capture_share, config.capture_bytes
            self._capture = Capture(config.capture, share, size, len(pages), CaptureMetrics(page))

    def start(self, in_service: Servable, candidate: Servable) -> Shadow:
        """Starts to compare a version with the one in service."""
        versions = (in_service.name, in_service.version, candidate.version)
        metrics = ShadowMetrics(self._page, self._pages, versions, in_service.labels)
        return Shadow(in_service, candidate, self._share, metrics, self._capture)

    def close(self) -> None:
        """Writes the remaining captured texts. Call it after all shadows are closed."""
        if self._capture:
            self._capture.close()
