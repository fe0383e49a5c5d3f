"""What the metrics of calls and models count."""

import grpc
import pytest

from service.telemetry import metrics
from service.telemetry.metrics import Method, MethodMetrics, ModelMetrics, RouteMetrics, VersionStates, code_label
from service.telemetry.shared_metrics import PAGE_BYTES, Counter, Family, MetricsPage


@pytest.fixture
def page() -> MetricsPage:
    return MetricsPage(bytearray(PAGE_BYTES), owner=0)


def shown(page: MetricsPage, family: Family) -> dict[tuple[str, ...], list[float]]:
    """The live series of a family that are not zero."""
    return {
        series.labels: values.tolist()
        for series, values in page.read()
        if series.family == family.name and series.live and values.any()
    }


@pytest.mark.parametrize(
    ("code", "label"),
    [
        (grpc.StatusCode.OK, "OK"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "DeadlineExceeded"),
        (grpc.StatusCode.UNAVAILABLE, "Unavailable"),
    ],
)
def test_codes_are_spelled_as_go_does(code: grpc.StatusCode, label: str) -> None:
    assert code_label(code) == label


def test_rpcs_are_counted_at_their_start_and_by_the_code_of_their_end(page: MetricsPage) -> None:
    method = Method("unary", "a.B", "C")
    counted = MethodMetrics(page, method)
    for code in (grpc.StatusCode.OK, grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND):
        counted.started()
        counted.handled(code, 0.003)
    assert method.path == "/a.B/C"
    assert shown(page, metrics.STARTED) == {("unary", "a.B", "C"): [3]}
    assert shown(page, metrics.HANDLED) == {(*method, "OK"): [2], (*method, "NotFound"): [1]}
    (times,) = shown(page, metrics.HANDLING).values()
    assert times[5] == 3  # up to 5 ms
    assert times[-1] == pytest.approx(0.009)


def test_http_requests_are_counted_by_route_and_status(page: MetricsPage) -> None:
    counted = RouteMetrics(page, "GET", "/v1/models")
    for code in (200, 200, 404):
        counted.handled(code, 0.0001)
    route = ("GET", "/v1/models")
    assert shown(page, metrics.HTTP_REQUESTS) == {(*route, "200"): [2], (*route, "404"): [1]}
    (times,) = shown(page, metrics.HTTP_SECONDS).values()
    assert times[0] == 3


def model(page: MetricsPage, name: str = "m", version: int = 1) -> ModelMetrics:
    return ModelMetrics(page, name, version, "compiled", ["x", "y"], label_texts=(3, 1))


def test_a_model_tells_its_engine_and_the_labels_of_its_training(page: MetricsPage) -> None:
    model(page)
    assert shown(page, metrics.INFO) == {("m", "1", "compiled"): [1]}
    assert shown(page, metrics.TRAINING_LABELS) == {("m", "1", "x"): [0.75], ("m", "1", "y"): [0.25]}
    ModelMetrics(page, "old", 1, "compiled", ["x", "y"])
    ModelMetrics(page, "empty", 1, "compiled", ["x", "y"], label_texts=(0, 0))
    ModelMetrics(page, "one", 1, "compiled", ["x", "y"], label_texts=(1, 0))
    training = shown(page, metrics.TRAINING_LABELS)
    assert {labels[0] for labels in training} == {"m", "one"}
    assert training["one", "1", "x"] == [1]


def test_files_that_replace_those_of_a_version_replace_its_engine_and_labels(page: MetricsPage) -> None:
    model(page, "other")
    model(page)
    ModelMetrics(page, "m", 1, "tensorflow", ["y", "z"], label_texts=(1, 1))
    assert shown(page, metrics.INFO) == {("other", "1", "compiled"): [1], ("m", "1", "tensorflow"): [1]}
    training = shown(page, metrics.TRAINING_LABELS)
    assert {labels: share for labels, share in training.items() if labels[0] == "m"} == {
        ("m", "1", "y"): [0.5],
        ("m", "1", "z"): [0.5],
    }


def test_texts_are_counted_by_label_probability_and_unknown_words(page: MetricsPage) -> None:
    counted = model(page)
    counted.classified([0, 1, 1], [0.55, 0.95, 1.0], [4, 0, 5], [1, 0, 5])
    assert shown(page, metrics.TEXTS) == {("m", "1", "x"): [1], ("m", "1", "y"): [2]}
    (probabilities,) = shown(page, metrics.PROBABILITY).values()
    assert probabilities == [0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, pytest.approx(2.5)]  # up to 0, 0.1 and so on; the sum
    (unknown,) = shown(page, metrics.UNKNOWN).values()
    assert unknown == [1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0.75]  # the text without words is none


def test_waits_batches_and_dropped_requests_are_counted(page: MetricsPage) -> None:
    counted = model(page)
    counted.queued(0.0)
    counted.inferred(3, 0.02)
    counted.dropped("overload")
    (queue,), (batch,) = shown(page, metrics.QUEUE).values(), shown(page, metrics.BATCH).values()
    assert (queue[0], batch[2], batch[-1]) == (1, 1, 3)  # 3 texts are more than 2 and at most 4
    (inference,) = shown(page, metrics.INFERENCE).values()
    assert (inference[7], inference[-1]) == (1, 0.02)
    assert shown(page, metrics.DROPPED) == {("m", "1", "overload"): [1]}


def test_one_version_of_a_model_is_in_service(page: MetricsPage) -> None:
    states = VersionStates(page)
    for name, version in (("m", 1), ("n", 1), ("m", 2)):
        states.in_service(name, version)
    assert shown(page, metrics.IN_SERVICE) == {("n", "1"): [1], ("m", "2"): [1]}
    states.in_service("m", None)
    assert shown(page, metrics.IN_SERVICE) == {("n", "1"): [1]}


def test_a_refused_version_has_its_last_reason_until_it_is_accepted(page: MetricsPage) -> None:
    states = VersionStates(page)
    states.refused("m", 1, "malformed")
    states.refused("m", 1, "internal")
    states.refused("m", 2, "malformed")
    states.refused("n", 1, "malformed")
    assert set(shown(page, metrics.REFUSED)) == {
        ("m", "1", "internal"),
        ("m", "2", "malformed"),
        ("n", "1", "malformed"),
    }
    states.accepted("m", 1)
    assert set(shown(page, metrics.REFUSED)) == {("m", "2", "malformed"), ("n", "1", "malformed")}


def test_series_of_versions_end_with_them_and_others_stay(page: MetricsPage) -> None:
    states = VersionStates(page)
    for name, version in (("m", 1), ("m", 2), ("n", 1)):
        model(page, name, version)
        states.in_service(name, version)
    Counter(page, metrics.RESTARTS).add()
    MethodMetrics(page, Method("unary", "a.B", "C")).started()
    states.keep([("m", 2), ("n", 1)])
    assert {labels[:2] for labels in shown(page, metrics.INFO)} == {("m", "2"), ("n", "1")}
    assert set(shown(page, metrics.IN_SERVICE)) == {("m", "2"), ("n", "1")}
    assert shown(page, metrics.RESTARTS)
    assert shown(page, metrics.STARTED)
