"""Time series in a block of memory that processes share: the worker that owns it writes, whoever serves metrics reads.

A write is one addition to a float64, without a lock: a few dozen nanoseconds, where a client library's locked and
labelled metric takes a microsecond. The block outlives its worker, and the worker that follows goes on counting in it.

Layout, native byte order: int64 used bytes of the directory, int64 used values, int64 process id of the owner, the
directory (JSON lines, one a series: family, label values, position, length), the values (float64).
"""

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from mmap import mmap
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

DIRECTORY_BYTES = 1 << 20
VALUES = 1 << 18
_HEADER_BYTES = 24
PAGE_BYTES = _HEADER_BYTES + DIRECTORY_BYTES + 8 * VALUES
"""Size of the memory that a `Page` lies in. What is not written to takes no memory."""


@dataclass(frozen=True)
class Family:
    """A metric: its name, what it says, its labels; a histogram's rising upper bounds, +Inf left out."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()

    @property
    def length(self) -> int:
        """Values of one series: one, or a histogram's buckets and its sum."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1


class Page:
    """The series of one process.

    Args:
        memory: `PAGE_BYTES` of zeros, or what an earlier process left.
        owner: the id of the process that writes from now on; None to read only.
    """

    def __init__(self, memory: mmap | bytearray, owner: int | None = None) -> None:
        self._bytes = memoryview(memory)
        self._header = self._bytes[:_HEADER_BYTES].cast("q")
        self._directory = self._bytes[_HEADER_BYTES : _HEADER_BYTES + DIRECTORY_BYTES]
        self._values = self._bytes[_HEADER_BYTES + DIRECTORY_BYTES : PAGE_BYTES].cast("d")
        if owner is not None:
            self._header[2] = owner
        self._known = {(family, labels): values for family, labels, values in self.read()}

    @property
    def owner(self) -> int:
        """The id of the process that writes."""
        return self._header[2]

    def series(self, family: Family, labels: Sequence[str] = ()) -> "memoryview[float]":
        """Returns the values of a series, new ones of zero the first time.

        Raises:
            MemoryError: the page is full.
        """
        key = (family.name, tuple(labels))
        if key not in self._known:
            self._known[key] = self._allocate(family, labels)
        return self._known[key]

    def _allocate(self, family: Family, labels: Sequence[str]) -> "memoryview[float]":
        used, start = self._header[0], self._header[1]
        entry = json.dumps([family.name, list(labels), start, family.length]).encode() + b"\n"
        if used + len(entry) > DIRECTORY_BYTES or start + family.length > VALUES:
            raise MemoryError("the page of metrics is full")
        self._directory[used : used + len(entry)] = entry
        # The directory's length is written last: a reader in another process sees whole entries only.
        self._header[1] = start + family.length
        self._header[0] = used + len(entry)
        return self._values[start : start + family.length]

    def read(self) -> Iterator[tuple[str, tuple[str, ...], "memoryview[float]"]]:
        """Yields each series: its family's name, its label values, its values as they are now."""
        for entry in bytes(self._directory[: self._header[0]]).splitlines():
            name, labels, start, length = json.loads(entry)
            yield name, tuple(labels), self._values[start : start + length]


class Counter:
    """A number that only rises."""

    __slots__ = ("_values",)

    def __init__(self, page: Page, family: Family, labels: Sequence[str] = ()) -> None:
        self._values = page.series(family, labels)

    def add(self, amount: float = 1) -> None:
        """Adds to it."""
        self._values[0] += amount


class Gauge:
    """A number that is set. Over several processes the largest counts."""

    __slots__ = ("_values",)

    def __init__(self, page: Page, family: Family, labels: Sequence[str] = ()) -> None:
        self._values = page.series(family, labels)

    def set(self, value: float) -> None:
        """Sets it."""
        self._values[0] = value


class Histogram:
    """Counts observations in buckets, and their sum."""

    __slots__ = ("_array", "_bounds", "_edges", "_values")

    def __init__(self, page: Page, family: Family, labels: Sequence[str] = ()) -> None:
        self._bounds = family.bounds
        self._edges = np.array(family.bounds)
        self._values = page.series(family, labels)
        self._array = np.asarray(self._values)

    def observe(self, value: float) -> None:
        """Counts one observation."""
        self._values[bisect_left(self._bounds, value)] += 1
        self._values[-1] += value

    def observe_all(self, values: Sequence[float]) -> None:
        """Counts many observations."""
        if len(values) < 32:  # below, NumPy's calls cost more than the loop
            for value in values:
                self.observe(value)
            return
        buckets = np.searchsorted(self._edges, values)
        self._array[:-1] += np.bincount(buckets, minlength=len(self._array) - 1)
        self._array[-1] += sum(values)


class PagesCollector(Collector):
    """Gives the sum of several processes' pages to a Prometheus registry."""

    def __init__(self, families: Iterable[Family], pages: Sequence[Page]) -> None:
        self._families = {family.name: family for family in families}
        self._pages = pages

    def collect(self) -> Iterator[Metric]:
        """Yields each family, in the order of its declaration, with all its series."""
        merged: dict[str, dict[tuple[str, ...], NDArray[np.float64]]] = {name: {} for name in self._families}
        for page in self._pages:
            for name, labels, values in page.read():
                present = merged[name].get(labels)
                merge = np.maximum if self._families[name].kind == "gauge" else np.add
                merged[name][labels] = np.array(values) if present is None else merge(present, np.asarray(values))
        for name, series in merged.items():
            yield _exposition(self._families[name], series)


def _exposition(family: Family, series: dict[tuple[str, ...], NDArray[np.float64]]) -> Metric:
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        names = [*(str(bound) for bound in family.bounds), "+Inf"]
        for labels, values in series.items():
            histogram.add_metric(labels, list(zip(names, np.cumsum(values[:-1]), strict=True)), values[-1])
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for labels, values in series.items():
        metric.add_metric(labels, values[0])
    return metric
