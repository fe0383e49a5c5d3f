"""Measures the engines without a server: microseconds per text, by number of texts in a call."""

import statistics
from collections.abc import Sequence
from time import perf_counter, process_time
from typing import NamedTuple

from textmodel import Engine

COUNTS = (1, 8, 64, 512)
ROUNDS = 7


class Cost(NamedTuple):
    """The cost in microseconds per text, as the median over the rounds."""

    wall: float
    cpu: float


def cost(engine: Engine, batches: Sequence[Sequence[str]]) -> Cost:
    """Classifies all batches `ROUNDS` times, after a warm-up round."""
    texts = sum(len(batch) for batch in batches)
    wall, cpu = [], []
    for _ in range(ROUNDS + 1):
        start, cpu_start = perf_counter(), process_time()
        for batch in batches:
            engine.classify(batch)
        wall.append((perf_counter() - start) / texts * 1e6)
        cpu.append((process_time() - cpu_start) / texts * 1e6)
    return Cost(statistics.median(wall[1:]), statistics.median(cpu[1:]))
