"""Time series in a block of memory that processes share: the worker that owns it writes, whoever serves metrics reads.

A write is one addition to a float64, without a lock: a few dozen nanoseconds, where a client library's locked and
labelled metric takes a microsecond. The block outlives its worker, and the worker that follows goes on counting in it.

Layout, native byte order: int64 generation, int64 process id of the owner, two directories, the values (float64). A
directory is int64 used bytes and JSON lines, one a series: family, label values, position, length, whether it is live.
The generation's parity tells which directory holds; the other is where the next generation is written.
"""

import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from mmap import mmap
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

DIRECTORY_BYTES = 1 << 20
VALUES = 1 << 18
_HEADER_BYTES = 16
PAGE_BYTES = _HEADER_BYTES + 2 * DIRECTORY_BYTES + 8 * VALUES
"""Size of the memory that a `MetricsPage` lies in. What is not written to takes no memory."""


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


class Series(NamedTuple):
    """A time series in a page. One that is not live is no longer written."""

    family: str
    labels: tuple[str, ...]
    start: int
    length: int
    live: bool = True


class MetricsPage:
    """The series of one process.

    Args:
        memory: `PAGE_BYTES` of zeros, or what an earlier process left.
        owner: the id of the process that writes from now on; None to read only.
    """

    def __init__(self, memory: mmap | bytearray, owner: int | None = None) -> None:
        whole = memoryview(memory)
        self._header = whole[:_HEADER_BYTES].cast("q")
        self._directories = [
            _Directory(whole[start : start + DIRECTORY_BYTES])
            for start in (_HEADER_BYTES, _HEADER_BYTES + DIRECTORY_BYTES)
        ]
        self._values = whole[_HEADER_BYTES + 2 * DIRECTORY_BYTES : PAGE_BYTES].cast("d")
        self._series = self._directory.read()
        self._gaps = self._find_gaps()
        if owner is not None:
            self._header[1] = owner

    @property
    def owner(self) -> int:
        """The id of the process that writes."""
        return self._header[1]

    @property
    def _directory(self) -> "_Directory":
        return self._directories[self._header[0] % 2]

    def series(self, family: Family, labels: Sequence[str] = ()) -> "memoryview[float]":
        """Returns the values of a series: zeros the first time.

        Raises:
            MemoryError: the page is full.
        """
        key = family.name, tuple(labels)
        series = self._series.get(key)
        if not series or not series.live:
            start = series.start if series else self._allocate(family.length)
            series = self._series[key] = Series(*key, start, family.length)
            self._directory.append(series)
        return self._values[series.start : series.start + series.length]

    def _allocate(self, length: int) -> int:
        """Takes the first gap that is large enough."""
        for number, gap in enumerate(self._gaps):
            if len(gap) >= length:
                self._gaps[number] = gap[length:]
                self._values[gap.start : gap.start + length] = memoryview(bytes(8 * length)).cast("d")
                return gap.start
        raise MemoryError("the page of metrics is full")

    def _find_gaps(self) -> list[range]:
        """Returns the ranges of values that no series has."""
        taken = sorted((series.start, series.start + series.length) for series in self._series.values())
        starts = [0, *(end for _, end in taken)]
        ends = [*(start for start, _ in taken), VALUES]
        return [range(start, end) for start, end in zip(starts, ends, strict=True) if start < end]

    def retire(self, which: Callable[[Series], bool]) -> None:
        """Ends series. They keep their place as long as they are fewer than the live ones: other processes may still
        count in theirs, and a total that lost a part would seem to fall.
        """
        live = {key: series for key, series in self._series.items() if series.live}
        if not any(map(which, live.values())):
            return
        kept = live if len(self._series) > 2 * len(live) else self._series
        self._series = {key: series._replace(live=series.live and not which(series)) for key, series in kept.items()}
        generation = self._header[0] + 1
        self._directories[generation % 2].write(self._series.values())
        self._header[0] = generation
        self._gaps = self._find_gaps()

    def read(self) -> list[tuple[Series, NDArray[np.float64]]]:
        """Returns each series with its values as they are now."""
        while True:
            generation = self._header[0]
            found = [
                (series, np.array(self._values[series.start : series.start + series.length]))
                for series in self._directory.read().values()
            ]
            # Otherwise values may by now be another series's.
            if self._header[0] == generation:
                return found


class _Directory:
    """Which series a page has, as a log: of two entries for the same series the later one holds.

    An entry counts once the length is written, so a reader sees whole ones only.
    """

    def __init__(self, memory: memoryview) -> None:
        self._used = memory[:8].cast("q")
        self._entries = memory[8:]

    def read(self) -> dict[tuple[str, tuple[str, ...]], Series]:
        """Returns the series by family and labels."""
        entries = map(json.loads, bytes(self._entries[: self._used[0]]).splitlines())
        return {(family, tuple(labels)): Series(family, tuple(labels), *rest) for family, labels, *rest in entries}

    def append(self, series: Series) -> None:
        """Adds an entry."""
        used, entry = self._used[0], json.dumps(series).encode() + b"\n"
        if used + len(entry) > len(self._entries):
            raise MemoryError("the page of metrics is full")
        self._entries[used : used + len(entry)] = entry
        self._used[0] = used + len(entry)

    def write(self, all_series: Iterable[Series]) -> None:
        """Replaces all entries."""
        self._used[0] = 0
        for series in all_series:
            self.append(series)


class Counter:
    """A number that only rises."""

    __slots__ = ("_values",)

    def __init__(self, page: MetricsPage, family: Family, labels: Sequence[str] = ()) -> None:
        self._values = page.series(family, labels)

    def add(self, amount: float = 1) -> None:
        """Adds to it."""
        self._values[0] += amount


class Gauge:
    """A number that is set. Over several processes the largest counts."""

    __slots__ = ("_values",)

    def __init__(self, page: MetricsPage, family: Family, labels: Sequence[str] = ()) -> None:
        self._values = page.series(family, labels)

    def set(self, value: float) -> None:
        """Sets it."""
        self._values[0] = value


class Histogram:
    """Counts observations in buckets, and their sum."""

    __slots__ = ("_array", "_bounds", "_edges", "_values")

    def __init__(self, page: MetricsPage, family: Family, labels: Sequence[str] = ()) -> None:
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

    def __init__(self, families: Iterable[Family], pages: Sequence[MetricsPage]) -> None:
        self._families = {family.name: family for family in families}
        self._pages = pages

    def collect(self) -> Iterator[Metric]:
        """Yields each family, in the order of its declaration, with all its live series."""
        merged: dict[str, dict[tuple[str, ...], NDArray[np.float64]]] = {name: {} for name in self._families}
        live = set()
        for page in self._pages:
            for series, values in page.read():
                family = merged[series.family]
                merge = np.maximum if self._families[series.family].kind == "gauge" else np.add
                present = family.get(series.labels)
                family[series.labels] = values if present is None else merge(present, values)
                if series.live:
                    live.add(series[:2])
        for name, family in merged.items():
            # A series ends when it has in all processes: a total that loses one of them would fall.
            yield _exposition(
                self._families[name], {labels: values for labels, values in family.items() if (name, labels) in live}
            )


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
