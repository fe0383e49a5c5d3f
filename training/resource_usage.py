"""Measures the time and the memory of the parts of a run."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Cost(NamedTuple):
    """The cost of one part."""

    part: str
    seconds: float
    peak_memory: int
    """Peak memory of the process from its start to the end of the part, in bytes."""


class Costs:
    """The costs of the finished parts of a run, in order."""

    def __init__(self) -> None:
        self.parts: list[Cost] = []

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Measures the block, and adds its cost under the name of the part."""
        start = time.perf_counter()
        yield
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kibibytes on Linux
        self.parts.append(Cost(part, time.perf_counter() - start, peak))
