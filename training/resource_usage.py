"""What the parts of a run cost."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Cost(NamedTuple):
    """What one part cost."""

    part: str
    seconds: float
    peak_memory: int
    """Bytes: the most that the process has held up to the part's end."""


class Costs:
    """The parts of a run so far, in order."""

    def __init__(self) -> None:
        self.parts: list[Cost] = []

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Measures the block."""
        start = time.perf_counter()
        yield
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kibibytes on Linux
        self.parts.append(Cost(part, time.perf_counter() - start, peak))
