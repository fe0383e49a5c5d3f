"""Measures the cost of a shadow version: this project's server with one, and without."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.server import Server, serving

TRANSPORTS = ("native", "grpcio")
SHADOWS = {
    "no shadow": (),
    "shadow": ("--shadow", "imdb=1"),
    "shadow of a tenth": ("--shadow", "imdb=1", "--shadow-share", "0.1"),
}
"""The servers' flags, by name."""


@contextmanager
def servers(models: Path, transport: str) -> Iterator[dict[str, Server]]:
    """Runs servers with and without a shadow of imdb during the block."""
    with ExitStack() as stack:
        yield {
            f"{transport}, {name}": stack.enter_context(serving(models, "--transport", transport, *flags))
            for name, flags in SHADOWS.items()
        }


class Texts(NamedTuple):
    """The numbers of texts for a shadow, by outcome."""

    compared: float
    dropped: float

    @classmethod
    def of(cls, server: Server) -> "Texts":
        """Reads the numbers from a server's metrics."""
        metrics = server.metrics()
        values = (
            re.findall(rf"^text_classifier_shadow_{name}texts_total{{.*}} (\S+)$", metrics, re.MULTILINE)
            for name in ("", "dropped_")
        )
        return cls(*(sum(map(float, found)) for found in values))

    def compared_since(self, before: "Texts") -> float | None:
        """Returns the share of the sampled texts since then that have been compared; None: none was sampled."""
        compared, dropped = self.compared - before.compared, self.dropped - before.dropped
        return compared / (compared + dropped) if compared + dropped else None
