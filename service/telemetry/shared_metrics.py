"""Time series in shared memory: the worker that owns a block writes it, and the metrics process reads it.

A write is one addition to a float64, without a lock. It takes a few dozen nanoseconds; a metric of a client library,
with locks and labels, takes a microsecond. The block outlives its worker, and the next worker goes on counting in it.

Layout, in native byte order: int64 generation, int64 process id of the owner, int64 number of dropped series, two
directories, and the values (float64). A directory is int64 used bytes, and one line for each series: the CRC-32 of the
generation and the rest of the line, then JSON with family, label values, position, length, and whether the series is
live. The parity of the generation tells which directory is valid. The next generation is written to the other one.

Readers assume no order of stores by another process. x86 keeps the order; on ARM a reader may see the length of a
directory, or a generation, before the lines that belong to it. Then the CRC differs, and the reader starts again. Each
value is an aligned float64, which is read as a whole.
"""

import json
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from mmap import mmap
from typing import Literal, NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_log = structlog.get_logger()

DIRECTORY_BYTES = 1 << 24
VALUES = 1 << 20
_HEADER_BYTES = 24
PAGE_BYTES = _HEADER_BYTES + 2 * DIRECTORY_BYTES + 8 * VALUES
"""Size of the memory that a `MetricsPage` lies in, 40 MiB. Parts that are never written take no memory."""

_MAX_LENGTH = 64
"""Values of the longest series."""
_ATTEMPTS = 100
"""Attempts to read a page consistently: a damaged page must not block its reader."""


@dataclass(frozen=True)
class Family:
    """A metric: its name, help and labels, and, for a histogram, the upper bounds in ascending order, without +Inf."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()

    @property
    def length(self) -> int:
        """The number of values of a series: one, or, for a histogram, the buckets and the sum."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1


class Series(NamedTuple):
    """A time series in a page. If it is not live, it is no longer written."""

    family: str
    labels: tuple[str, ...]
    start: int
    length: int
    live: bool = True


class MetricsPage:
    """The series of one process.

    Args:
        memory: `PAGE_BYTES` of zeros, or the memory of an earlier process.
        owner: the id of the process that writes from now on; None: read-only.
    """

    def __init__(self, memory: mmap | bytearray, owner: int | None = None) -> None:
        whole = memoryview(memory)
        self._header = whole[:_HEADER_BYTES].cast("q")
        self._directories = [
            _Directory(whole[start : start + DIRECTORY_BYTES])
            for start in (_HEADER_BYTES, _HEADER_BYTES + DIRECTORY_BYTES)
        ]
        self._values = whole[_HEADER_BYTES + 2 * DIRECTORY_BYTES : PAGE_BYTES].cast("d")
        self._unexported = memoryview(bytearray(8 * _MAX_LENGTH)).cast("d")
        self._series = self._read_directory()
        self._gaps = self._find_gaps()
        if owner is not None:
            self._header[1] = owner

    @property
    def owner(self) -> int:
        """The id of the process that writes the page."""
        return self._header[1]

    @property
    def dropped(self) -> int:
        """Number of series that did not fit."""
        return self._header[2]

    @property
    def _directory(self) -> "_Directory":
        return self._directories[self._header[0] % 2]

    def _read_directory(self) -> "_SeriesByKey":
        for _ in range(_ATTEMPTS):
            generation = self._header[0]
            found, whole = self._directories[generation % 2].read(generation)
            if whole and self._header[0] == generation:
                break
        return found

    def series(self, family: Family, labels: Sequence[str] = ()) -> "memoryview[float]":
        """Returns the values of a series, which are zeros at first.

        If the page is full, the values are not exposed, and `dropped` counts the series. So metrics never make the
        measured work fail.
        """
        key = family.name, tuple(labels)
        series = self._series.get(key)
        try:
            if not series or not series.live:
                start = series.start if series else self._allocate(family.length)
                series = Series(*key, start, family.length)
                self._directory.append(series, self._header[0])
                self._series[key] = series
        except _FullError:
            self._drop()
            return self._unexported[: family.length]
        return self._values[series.start : series.start + series.length]

    def _drop(self) -> None:
        self._header[2] += 1
        if self._header[2] == 1:
            _log.warning("metrics page full: further series are dropped", series=len(self._series))

    def _allocate(self, length: int) -> int:
        """Takes the first gap that is large enough.

        Raises:
            _FullError: no gap is large enough.
        """
        for number, gap in enumerate(self._gaps):
            if len(gap) >= length:
                self._gaps[number] = gap[length:]
                self._values[gap.start : gap.start + length] = memoryview(bytes(8 * length)).cast("d")
                return gap.start
        raise _FullError

    def _find_gaps(self) -> list[range]:
        """Returns the ranges of values that no series uses."""
        taken = sorted((series.start, series.start + series.length) for series in self._series.values())
        starts = [0, *(end for _, end in taken)]
        ends = [*(start for start, _ in taken), VALUES]
        return [range(start, end) for start, end in zip(starts, ends, strict=True) if start < end]

    def retire(self, which: Callable[[Series], bool]) -> None:
        """Ends series. Ended series keep their place while they are fewer than the live ones. Other processes may still
        count in the same series, and a total that lost a part would seem to fall.
        """
        live = {key: series for key, series in self._series.items() if series.live}
        if not any(map(which, live.values())):
            return
        kept = live if len(self._series) > 2 * len(live) else self._series
        self._series = {key: series._replace(live=series.live and not which(series)) for key, series in kept.items()}
        generation = self._header[0] + 1
        self._directories[generation % 2].write(self._series.values(), generation)
        self._header[0] = generation
        self._gaps = self._find_gaps()

    def read(self) -> list[tuple[Series, NDArray[np.float64]]]:
        """Returns each series with its current values."""
        while True:
            generation = self._header[0]
            found = [
                (series, np.array(self._values[series.start : series.start + series.length]))
                for series in self._read_directory().values()
            ]
            # Otherwise a value may already belong to another series.
            if self._header[0] == generation:
                return found


class _FullError(Exception):
    """The page has no room for another series."""


_SeriesByKey = dict[tuple[str, tuple[str, ...]], Series]


class _Directory:
    """The series of a page, as a log. Of several entries for the same series, the last one is valid."""

    def __init__(self, memory: memoryview) -> None:
        self._used = memory[:8].cast("q")
        self._entries = memory[8:]

    def read(self, generation: int) -> tuple[_SeriesByKey, bool]:
        """Returns the series by family and labels, and whether all entries are complete and of this generation."""
        found: _SeriesByKey = {}
        for line in bytes(self._entries[: self._used[0]]).splitlines():
            checksum, _, entry = line.partition(b" ")
            if checksum != _checksum(entry, generation):
                return found, False
            family, labels, start, length, live = json.loads(entry)
            found[family, tuple(labels)] = Series(family, tuple(labels), start, length, bool(live))
        return found, True

    def append(self, series: Series, generation: int) -> None:
        """Adds an entry.

        Raises:
            _FullError: there is no room for it.
        """
        # An entry has the same size whether the series is live or not, so that the entry of its end fits too.
        entry = json.dumps([*series[:-1], int(series.live)]).encode()
        line = b"%b %b\n" % (_checksum(entry, generation), entry)
        used = self._used[0]
        if used + len(line) > len(self._entries):
            raise _FullError
        self._entries[used : used + len(line)] = line
        self._used[0] = used + len(line)

    def write(self, all_series: Iterable[Series], generation: int) -> None:
        """Replaces all entries."""
        self._used[0] = 0
        for series in all_series:
            self.append(series, generation)


def _checksum(entry: bytes, generation: int) -> bytes:
    return b"%08x" % zlib.crc32(entry, generation & 0xFFFFFFFF)


class Counter:
    """A number that only increases."""

    __slots__ = ("_values",)

    def __init__(self, page: MetricsPage, family: Family, labels: Sequence[str] = ()) -> None:
        self._values = page.series(family, labels)

    def add(self, amount: float = 1) -> None:
        """Adds an amount to the counter."""
        self._values[0] += amount


class Gauge:
    """A number that is set. The metrics server exposes the largest of all processes."""

    __slots__ = ("_values",)

    def __init__(self, page: MetricsPage, family: Family, labels: Sequence[str] = ()) -> None:
        self._values = page.series(family, labels)

    def set(self, value: float) -> None:
        """Sets the value."""
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
        if len(values) < 32:  # for so few, NumPy's calls cost more than the loop
            for value in values:
                self.observe(value)
            return
        buckets = np.searchsorted(self._edges, values)
        self._array[:-1] += np.bincount(buckets, minlength=len(self._array) - 1)
        self._array[-1] += sum(values)


DROPPED_SERIES = Family(
    "counter", "text_classifier_metrics_dropped_series_total", "Time series that found no room and are not exposed."
)


class PagesCollector(Collector):
    """Collects the sum of several processes' pages for a Prometheus registry."""

    def __init__(self, families: Iterable[Family], pages: Sequence[MetricsPage]) -> None:
        self._families = {family.name: family for family in families}
        self._pages = pages

    def collect(self) -> Iterator[Metric]:
        """Yields the families in the order of declaration, with their live series, then the number of dropped ones."""
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
            # A series ends when it has ended in all processes. Otherwise the total would fall.
            yield _exposition(
                self._families[name], {labels: values for labels, values in family.items() if (name, labels) in live}
            )
        yield _exposition(DROPPED_SERIES, {(): np.array([sum(page.dropped for page in self._pages)])})


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
