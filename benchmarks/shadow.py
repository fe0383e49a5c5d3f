"""The cost of a shadow version: this project's server with one, and without."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.server import Server, serving


@contextmanager
def servers(models: Path) -> Iterator[dict[str, Server]]:
    """Runs servers with and without a shadow of imdb while the block runs. The transport of all is the same: while a
    model has a shadow, Python answers its requests.
    """
    with ExitStack() as stack:
        flags = ("--transport", "grpcio")
        yield {
            "no shadow": stack.enter_context(serving(models, *flags)),
            "shadow": stack.enter_context(serving(models, *flags, "--shadow", "imdb=1")),
            "shadow of a tenth": stack.enter_context(
                serving(models, *flags, "--shadow", "imdb=1", "--shadow-share", "0.1")
            ),
        }
