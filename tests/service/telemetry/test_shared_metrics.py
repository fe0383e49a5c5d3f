"""Time series in shared memory, and what Prometheus reads of them."""

import mmap
import os

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest

from service.telemetry.metrics import ModelMetrics
from service.telemetry.shared_metrics import (
    _HEADER_BYTES,
    PAGE_BYTES,
    VALUES,
    Counter,
    Family,
    Gauge,
    Histogram,
    MetricsPage,
    PagesCollector,
    Series,
)

COUNTER = Family("counter", "calls_total", "Calls.", ("method",))
GAUGE = Family("gauge", "info", "Info.")
HISTOGRAM = Family("histogram", "seconds", "Seconds.", (), (0.1, 1.0))
FAMILIES = (COUNTER, GAUGE, HISTOGRAM)


def exposition(*pages: MetricsPage) -> list[str]:
    registry = CollectorRegistry()
    registry.register(PagesCollector(FAMILIES, pages))
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if not line.startswith("#") and not line.endswith("dropped_series_total 0.0")]


def test_a_histogram_counts_a_bound_s_own_value_below_it_as_prometheus_does() -> None:
    page = MetricsPage(bytearray(PAGE_BYTES))
    histogram = Histogram(page, HISTOGRAM)
    for value in (0.1, 0.100001, 5.0):
        histogram.observe(value)
    assert exposition(page) == [
        'seconds_bucket{le="0.1"} 1.0',
        'seconds_bucket{le="1.0"} 2.0',
        'seconds_bucket{le="+Inf"} 3.0',
        "seconds_count 3.0",
        "seconds_sum 5.200001",
    ]


def test_a_series_has_one_value_and_a_histogram_those_of_its_buckets_and_its_sum() -> None:
    assert (COUNTER.length, GAUGE.length, HISTOGRAM.length) == (1, 1, 4)


def test_a_page_tells_who_writes_it() -> None:
    memory = bytearray(PAGE_BYTES)
    Counter(MetricsPage(memory, owner=7), COUNTER, ("a",)).add()
    reader = MetricsPage(memory)
    assert (reader.owner, reader.dropped) == (7, 0)


def test_many_observations_at_once_count_as_one_by_one() -> None:
    values = np.linspace(0, 2, 41)
    one_by_one, at_once = MetricsPage(bytearray(PAGE_BYTES)), MetricsPage(bytearray(PAGE_BYTES))
    for value in values:
        Histogram(one_by_one, HISTOGRAM).observe(float(value))
    Histogram(at_once, HISTOGRAM).observe_all(values.tolist())
    assert exposition(at_once) == exposition(one_by_one)


def test_pages_of_several_processes_sum_up_and_gauges_take_the_largest() -> None:
    first, second = MetricsPage(bytearray(PAGE_BYTES)), MetricsPage(bytearray(PAGE_BYTES))
    Counter(first, COUNTER, ("a",)).add(2)
    Counter(second, COUNTER, ("a",)).add(3)
    Counter(second, COUNTER, ("b",)).add()
    Gauge(first, GAUGE).set(1)
    Gauge(second, GAUGE).set(1)
    assert exposition(first, second) == ['calls_total{method="a"} 5.0', 'calls_total{method="b"} 1.0', "info 1.0"]


def test_a_process_that_follows_goes_on_counting_where_the_dead_one_stopped() -> None:
    memory = mmap.mmap(-1, PAGE_BYTES)
    for _ in range(2):
        if (child := os.fork()) == 0:
            Counter(MetricsPage(memory), COUNTER, ("a",)).add()
            os.kill(os.getpid(), 9)
        os.waitpid(child, 0)
    assert exposition(MetricsPage(memory)) == ['calls_total{method="a"} 2.0']


def test_the_same_labels_are_the_same_series() -> None:
    page = MetricsPage(bytearray(PAGE_BYTES))
    Counter(page, COUNTER, ("a",)).add()
    Counter(page, COUNTER, ("a",)).add()
    assert exposition(page) == ['calls_total{method="a"} 2.0']


def fill(page: MetricsPage) -> None:
    labels = 0
    while not page.dropped:
        Counter(page, COUNTER, (f"{labels:0100000}",))
        labels += 1


def test_a_full_page_drops_series_and_counts_them() -> None:
    page = MetricsPage(bytearray(PAGE_BYTES))
    Counter(page, COUNTER, ("a",)).add()
    fill(page)
    Counter(page, COUNTER, ("b" * 100_000,)).add()
    Histogram(page, HISTOGRAM).observe(1)  # smaller: it still fits
    shown = exposition(page)
    assert shown[0] == 'calls_total{method="a"} 1.0'
    assert "seconds_count 1.0" in shown
    assert shown[-1] == "text_classifier_metrics_dropped_series_total 2.0"
    assert not any("bbb" in line for line in shown)


def test_a_page_without_room_for_values_drops_series_too() -> None:
    page = MetricsPage(bytearray(PAGE_BYTES))
    long = Family("histogram", "long", "Long.", ("n",), tuple(float(bound) for bound in range(60)))
    for number in range(VALUES // long.length + 1):
        Histogram(page, long, (str(number),)).observe(1)
    assert page.dropped == 1
    Counter(page, COUNTER, ("a",)).add()
    assert {series.labels: values for series, values in page.read()}["a",] == [1]


def test_series_of_a_full_page_can_still_end_and_make_room() -> None:
    memory = bytearray(PAGE_BYTES)
    page = MetricsPage(memory)
    Gauge(page, GAUGE).set(1)
    fill(page)
    for _ in range(3):  # what has ended keeps its place for a while
        page.retire(lambda series: series.family == COUNTER.name)
        Counter(page, COUNTER, ("a",)).add()
    dropped = page.dropped
    Counter(page, COUNTER, ("b",)).add()
    assert page.dropped == dropped
    assert exposition(MetricsPage(memory))[:3] == [
        'calls_total{method="a"} 3.0',
        'calls_total{method="b"} 1.0',
        "info 1.0",
    ]


def test_a_page_holds_a_thousand_models_of_46_labels() -> None:
    page = MetricsPage(bytearray(PAGE_BYTES))
    labels = [f"label-{number:02}" for number in range(46)]
    models = [ModelMetrics(page, f"model-{number:04}", 1, "compiled", labels) for number in range(1000)]
    models[-1].classified([45], [0.9], [1], [1])
    assert page.dropped == 0


def test_a_reader_waits_for_entries_whose_length_it_saw_first() -> None:
    memory = bytearray(PAGE_BYTES)
    page, empty = MetricsPage(memory), bytes(1000)
    first_entries = slice(_HEADER_BYTES + 8, _HEADER_BYTES + 1008)
    Counter(page, COUNTER, ("a",)).add()
    written = bytes(memory[first_entries])
    memory[first_entries] = empty  # as a processor that reorders stores shows it
    assert MetricsPage(memory).read() == []
    memory[first_entries] = written
    assert [series.labels for series, _ in MetricsPage(memory).read()] == [("a",)]


def test_a_reader_does_not_take_entries_of_an_older_generation_for_new_ones() -> None:
    memory = bytearray(PAGE_BYTES)
    page = MetricsPage(memory)
    Counter(page, COUNTER, ("a",)).add()
    memory[0] += 2  # the new generation is visible, its directory is not yet
    assert MetricsPage(memory).read() == []


def all_series(series: Series) -> bool:
    return series.family == COUNTER.name


def test_a_retired_series_is_shown_until_it_is_retired_in_every_process() -> None:
    first, second = MetricsPage(bytearray(PAGE_BYTES)), MetricsPage(bytearray(PAGE_BYTES))
    for page in (first, second):
        Counter(page, COUNTER, ("a",)).add()
        Gauge(page, GAUGE).set(1)
    first.retire(all_series)
    assert exposition(first, second) == ['calls_total{method="a"} 2.0', "info 1.0"]
    second.retire(all_series)
    assert exposition(first, second) == ["info 1.0"]


def test_a_retired_series_that_comes_back_goes_on_counting() -> None:
    memory = bytearray(PAGE_BYTES)
    page = MetricsPage(memory)
    Counter(page, COUNTER, ("a",)).add(2)
    page.retire(all_series)
    Counter(page, COUNTER, ("a",)).add()
    assert exposition(MetricsPage(memory)) == ['calls_total{method="a"} 3.0']


def test_the_place_of_retired_series_is_used_again_from_zero() -> None:
    memory = bytearray(PAGE_BYTES)
    page = MetricsPage(memory)
    Gauge(page, GAUGE).set(1)
    for generation in range(300):
        for label in range(200):
            Counter(page, COUNTER, (f"{generation}.{label}" + "x" * 40,)).add()
        page.retire(lambda series: series.family == COUNTER.name)
    Counter(page, COUNTER, ("a",)).add()
    assert exposition(MetricsPage(memory)) == ['calls_total{method="a"} 1.0', "info 1.0"]


def test_a_reader_never_takes_one_series_for_another_while_they_come_and_go() -> None:
    memory = mmap.mmap(-1, PAGE_BYTES)
    if (child := os.fork()) == 0:
        page = MetricsPage(memory)
        for number in range(20_000):
            name = str(number)
            Counter(page, COUNTER, (name,)).add(number)
            page.retire(lambda series, name=name: series.labels == (name,))  # type: ignore[misc]
        os._exit(0)
    reader = MetricsPage(memory)
    read = 0
    while not os.waitpid(child, os.WNOHANG)[0]:
        for series, values in reader.read():
            assert values[0] in (0, float(series.labels[0]))
            read += 1
    assert read
