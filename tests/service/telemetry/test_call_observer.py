"""Single calls of the real server in its access log, and in traces that a collector gets over OTLP."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.instrumentation.grpc import GrpcInstrumentorClient
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.otlp_collector import Collector, attributes, grpc_collector, http_collector
from tests.server_process import ROOT, ServerProcess, serving
from tests.service.http.test_routes import call
from tests.tiny_model import write_model
from text_classifier import Client
from text_classifier.v1 import text_classifier_pb2 as pb2
from text_classifier.v1 import text_classifier_pb2_grpc as pb2_grpc
from textmodel.extras import how_to_install

CLASSIFY = "text_classifier.v1.TextClassifier/Classify"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SECRET = "a secret text"


def metadata(number: int, *, sampled: bool = True) -> tuple[tuple[str, str], ...]:
    """W3C trace context of trace `number`, and its request's id."""
    return (("traceparent", f"00-{trace(number)}-{PARENT}-{int(sampled):02}"), ("x-request-id", f"request-{number}"))


def trace(number: int) -> str:
    return f"{TRACE[:-4]}{number:04}"


def request(model: str = "topic", texts: Sequence[str] = (SECRET,), *, explain: bool = False) -> pb2.ClassifyRequest:
    return pb2.ClassifyRequest(model=model, texts=texts, explain=explain)


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with grpc_collector() as running:
        yield running


@pytest.fixture(scope="module")
def observed(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that logs and traces calls; each text waits for TensorFlow, which fails at "poison"."""
    models = tmp_path_factory.mktemp("models")
    write_model(models, "topic", poison="poison")
    flags = ("--access-log", "on", "--tracing", "on", "--engine", "tensorflow", "--workers", "1")
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with serving(models, *flags, environment=environment) as running:
        yield running


@pytest.fixture(scope="module")
def stub(observed: ServerProcess) -> Iterator[pb2_grpc.TextClassifierStub]:
    with grpc.insecure_channel(observed.address) as channel:
        yield pb2_grpc.TextClassifierStub(channel)


def test_a_call_has_one_line_in_the_access_log_that_tells_all_but_its_text(
    observed: ServerProcess, stub: pb2_grpc.TextClassifierStub
) -> None:
    _, call = stub.Classify.with_call(request(texts=[SECRET] * 3), metadata=metadata(1))
    assert dict(call.trailing_metadata()) == {"x-request-id": "request-1"}
    line = observed.event("call", request_id="request-1")
    assert line["method"] == CLASSIFY
    assert (line["code"], line["model"], line["version"], line["texts"]) == ("OK", "topic", 1, 3)
    assert line["client"].startswith("127.0.0.1:")
    assert line["user_agent"].startswith("grpc-python/")
    assert line["trace_id"] == trace(1)
    assert 0 < line["inference_seconds"] <= line["seconds"] - line["queue_seconds"]
    assert SECRET not in json.dumps(observed.log)


@pytest.mark.parametrize("given", [(), (("x-request-id", ""),), (("x-request-id", "two words"),)])
def test_a_call_without_a_usable_id_gets_one(
    observed: ServerProcess, stub: pb2_grpc.TextClassifierStub, given: tuple[tuple[str, str], ...]
) -> None:
    ids = {
        dict(stub.Classify.with_call(request(), metadata=given)[1].trailing_metadata())["x-request-id"] for _ in "ab"
    }
    assert len(ids) == 2
    for request_id in ids:
        assert len(request_id) == 32
        assert observed.event("call", request_id=request_id)["code"] == "OK"


def test_a_refused_call_has_its_id_beside_the_details_of_its_error(
    observed: ServerProcess, stub: pb2_grpc.TextClassifierStub, collector: Collector
) -> None:
    with pytest.raises(grpc.RpcError) as error:
        stub.Classify(request(model="nothing"), metadata=metadata(2))
    assert dict(cast("Any", error.value.trailing_metadata())).keys() == {"x-request-id", "grpc-status-details-bin"}
    line = observed.event("call", request_id="request-2")
    assert line["code"] == "NOT_FOUND"
    assert "model" not in line  # the log names no model but those that there are
    with pytest.raises(grpc.RpcError):
        stub.Classify(request(texts=[]), metadata=metadata(12))
    line = observed.event("call", request_id="request-12")
    assert (line["code"], line["model"], line["texts"]) == ("INVALID_ARGUMENT", "topic", 0)
    (span,) = collector.trace(trace(2), 1).values()
    assert attributes(span.attributes)["rpc.response.status_code"] == "NOT_FOUND"
    assert span.status.code == span.status.STATUS_CODE_UNSET  # it is the client's fault


def test_a_failure_is_found_in_the_log_and_in_the_trace_by_its_request_id(
    observed: ServerProcess, stub: pb2_grpc.TextClassifierStub, collector: Collector
) -> None:
    with pytest.raises(grpc.RpcError):
        stub.Classify(request(texts=["poison"]), metadata=metadata(3))
    assert observed.event("request failed", request_id="request-3")["trace_id"] == trace(3)
    assert observed.event("call", request_id="request-3")["code"] == "INTERNAL"
    (span,) = collector.trace(trace(3), 1).values()
    assert span.status.code == span.status.STATUS_CODE_ERROR
    assert attributes(span.attributes)["error.type"] == "INTERNAL"


def test_calls_under_way_at_once_do_not_mix(observed: ServerProcess, stub: pb2_grpc.TextClassifierStub) -> None:
    numbers = range(100, 132)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: stub.Classify(request(texts=[SECRET] * (n - 99)), metadata=metadata(n)), numbers))
    for number in numbers:
        line = observed.event("call", request_id=f"request-{number}")
        assert (line["trace_id"], line["texts"]) == (trace(number), number - 99)


def test_a_stream_has_one_line_for_all_its_requests(
    observed: ServerProcess, stub: pb2_grpc.TextClassifierStub, collector: Collector
) -> None:
    answers = stub.ClassifyStream(iter([request(), request(texts=["a", "b"])]), metadata=metadata(4))
    assert len(list(answers)) == 2
    line = observed.event("call", request_id="request-4")
    assert (line["method"], line["texts"]) == ("text_classifier.v1.TextClassifier/ClassifyStream", 3)
    collector.trace(trace(4), 5)  # its own, and queue and inference of each request


def test_http_requests_are_told_as_rpcs_are(observed: ServerProcess, collector: Collector) -> None:
    url = f"http://{observed.http}/v1/models/topic:classify"
    answer = call(url, {"texts": [SECRET]}, dict(metadata(5)))
    assert answer.headers["X-Request-Id"] == "request-5"
    line = observed.event("call", request_id="request-5")
    assert (line["method"], line["code"]) == ("POST /v1/models/{model}:classify", 200)
    assert (line["model"], line["texts"], line["trace_id"]) == ("topic", 1, trace(5))
    span = collector.trace(trace(5), 3)["POST /v1/models/{model}:classify"]
    assert attributes(span.attributes) == {
        "http.request.method": "POST",
        "http.route": "/v1/models/{model}:classify",
        "http.response.status_code": 200,
        "url.path": "/v1/models/topic:classify",
        "url.scheme": "http",
        "text_classifier.model": "topic",
        "text_classifier.version": 1,
        "text_classifier.texts": 1,
    }
    assert call(url, {"texts": []}).headers["X-Request-Id"]


def test_probes_are_not_told(observed: ServerProcess, collector: Collector) -> None:
    with grpc.insecure_channel(observed.address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        _, probe = stub.Check.with_call(health_pb2.HealthCheckRequest(), metadata=metadata(6))
    assert not dict(probe.trailing_metadata())
    assert "X-Request-Id" not in call(f"http://{observed.http}/v2/health/ready").headers
    call(f"http://{observed.http}/v1/models", headers=dict(metadata(7)))  # the worker's lines come in their order
    observed.event("call", request_id="request-7")
    calls = [line for line in observed.log if line["event"] == "call"]
    assert not [line for line in calls if line["request_id"] == "request-6" or "health" in line["method"]]
    collector.trace(trace(7), 1)
    assert trace(6) not in collector.trace_ids()


def test_a_trace_has_spans_of_request_queue_and_inference_below_the_clients(
    stub: pb2_grpc.TextClassifierStub, collector: Collector
) -> None:
    stub.Classify(request(texts=["a", "b"]), metadata=metadata(8))
    spans = collector.trace(trace(8), 3)
    assert spans.keys() == {CLASSIFY, "queue", "inference"}
    of_call, queue, inference = spans[CLASSIFY], spans["queue"], spans["inference"]
    assert of_call.parent_span_id.hex() == PARENT
    assert of_call.kind == of_call.SPAN_KIND_SERVER
    assert queue.parent_span_id == inference.parent_span_id == of_call.span_id
    times = [
        of_call.start_time_unix_nano,
        queue.start_time_unix_nano,
        queue.end_time_unix_nano,
        inference.start_time_unix_nano,
        inference.end_time_unix_nano,
        of_call.end_time_unix_nano,
    ]
    assert times == sorted(times)
    assert attributes(of_call.attributes) == {
        "rpc.system.name": "grpc",
        "rpc.method": CLASSIFY,
        "rpc.response.status_code": "OK",
        "text_classifier.model": "topic",
        "text_classifier.version": 1,
        "text_classifier.texts": 2,
    }


def test_explaining_is_a_phase_of_its_own(
    observed: ServerProcess, stub: pb2_grpc.TextClassifierStub, collector: Collector
) -> None:
    stub.Classify(request(explain=True), metadata=metadata(9))
    assert collector.trace(trace(9), 4)["explain"]
    assert observed.event("call", request_id="request-9")["explain_seconds"] > 0


def test_a_trace_that_its_client_does_not_record_is_not_recorded_here(
    stub: pb2_grpc.TextClassifierStub, collector: Collector
) -> None:
    stub.Classify(request(), metadata=metadata(10, sampled=False))
    stub.Classify(request(), metadata=metadata(11))  # spans are sent in their order
    collector.trace(trace(11), 3)
    assert trace(10) not in collector.trace_ids()


def test_spans_of_an_instrumented_client_are_parents_of_the_servers(
    observed: ServerProcess, collector: Collector
) -> None:
    provider, of_client = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(of_client))
    instrumentor = GrpcInstrumentorClient()
    instrumentor.instrument(tracer_provider=provider)
    try:
        with (
            provider.get_tracer("test").start_as_current_span("outer") as outer,
            Client(observed.address, timeout=60) as client,
        ):
            client.classify([SECRET], model="topic")
    finally:
        instrumentor.uninstrument()
    spans = collector.trace(f"{outer.get_span_context().trace_id:032x}", 3)
    of_client_ids = {f"{span.context.span_id:016x}" for span in of_client.get_finished_spans()}
    assert spans[CLASSIFY].parent_span_id.hex() in of_client_ids


def test_standard_variables_choose_protocol_name_and_sampler(tiny_models: Path) -> None:
    with http_collector() as collector:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_SERVICE_NAME": "mine",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
            "OTEL_TRACES_SAMPLER": "parentbased_always_off",
        }
        with (
            serving(tiny_models, "--tracing", "on", environment=environment) as server,
            grpc.insecure_channel(server.address) as channel,
        ):
            stub = pb2_grpc.TextClassifierStub(channel)
            stub.Classify(request(model="sentiment"))
            stub.Classify(request(model="sentiment"), metadata=metadata(1))
        # The server has ended: what it had not sent by then it has sent at its end.
        assert collector.trace_ids() == {trace(1)}
        assert collector.trace(trace(1), 3)
        assert collector.resources[0]["service.name"] == "mine"
        assert collector.resources[0]["deployment.environment.name"] == "test"


def test_a_collector_that_is_not_there_keeps_no_call_and_no_end_waiting(tiny_models: Path) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_BSP_SCHEDULE_DELAY": "1"}
    with (
        serving(tiny_models, "--tracing", "on", "--workers", "1", environment=environment) as server,
        Client(server.address, timeout=60) as client,
    ):
        assert client.classify([SECRET] * 10, model="sentiment")
    assert server.event("stopped")
    assert not [line for line in server.log if line["event"] == "died"]


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "carrier/pigeon"}, "'carrier/pigeon' is not one of grpc, http/protobuf"),
        ({"OTEL_TRACES_EXPORTER": "otlp, nothing"}, "no installed package has an exporter 'nothing'"),
    ],
)
def test_a_variable_that_asks_for_what_there_is_not_ends_the_start(
    tiny_models: Path, environment: dict[str, str], reason: str
) -> None:
    server = ServerProcess(tiny_models, "--tracing", "on", environment=environment)
    assert server.wait() == 2
    (line,) = server.log
    assert reason in line["line"]


def test_tracing_without_its_extra_ends_the_start_and_names_the_extra(tiny_models: Path, tmp_path: Path) -> None:
    (tmp_path / "opentelemetry.py").write_text("raise ImportError('not here')")
    server = ServerProcess(tiny_models, "--tracing", "on", environment={"PYTHONPATH": str(tmp_path)})
    assert server.wait() == 2
    (line,) = server.log
    assert f"--tracing on needs OpenTelemetry (not here): {how_to_install('otel')}" in line["line"]


def test_without_the_options_nothing_is_told_and_opentelemetry_is_not_even_imported(server: ServerProcess) -> None:
    with grpc.insecure_channel(server.address) as channel:
        stub = pb2_grpc.TextClassifierStub(channel)
        _, done = stub.Classify.with_call(request(), metadata=metadata(1))
    assert not dict(done.trailing_metadata())
    assert "X-Request-Id" not in call(f"http://{server.http}/v1/models").headers
    assert not [line for line in server.log if line["event"] == "call"]
    imports = "import sys, service.process.supervisor; print([name for name in sys.modules if 'opentelemetry' in name])"
    output = subprocess.run([sys.executable, "-c", imports], cwd=ROOT, capture_output=True, check=True, text=True)
    assert output.stdout.strip() == "[]"
