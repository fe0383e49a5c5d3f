"""The server as a whole: a real process, called over gRPC and read over HTTP."""

import json
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.server_process import ServerProcess, serving
from tests.tiny_model import write_model
from text_classifier.v1 import text_classifier_pb2 as pb2
from text_classifier.v1 import text_classifier_pb2_grpc as pb2_grpc
from textmodel import VersionFolder, load_engine
from textmodel.explanation import Explainer

SERVICE = "text_classifier.v1.TextClassifier"
TEXTS = ["the moving film", "", "!!! ...", "nothing known here", "DULL \0 😀 Straße ΣΑΣ"]


def request(**fields: Any) -> pb2.ClassifyRequest:
    return pb2.ClassifyRequest(**{"model": "topic", "texts": ["oil"], **fields})


def status_of(error: grpc.RpcError) -> status_pb2.Status:
    """The google.rpc.Status in the trailing metadata, which must agree with the plain status."""
    trailers: dict[str, Any] = dict(error.trailing_metadata())  # type: ignore[arg-type]
    status: status_pb2.Status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    assert (status.code, status.message) == (error.code().value[0], error.details())
    return status


def unpack(status: status_pb2.Status, kind: Any) -> Any:
    (detail,) = status.details
    message = kind()
    assert detail.Unpack(message)
    return message


def test_the_answer_is_the_engine_s_own(stub: pb2_grpc.TextClassifierStub, tiny_models: Path) -> None:
    response = stub.Classify(request(texts=TEXTS, top_k=3))
    expected = load_engine(tiny_models / "topic" / "1").classify(TEXTS)
    labels = VersionFolder(tiny_models / "topic" / "1").labels
    assert (response.model, response.version, len(response.classifications)) == ("topic", 1, len(TEXTS))
    for row, answer in enumerate(response.classifications):
        order = np.argsort(-expected.probabilities[row])
        assert answer.label == labels[order[0]]
        assert answer.probability == pytest.approx(expected.probabilities[row].max(), abs=1e-6)
        assert [score.label for score in answer.scores] == [labels[index] for index in order[:3]]
        assert [score.probability for score in answer.scores] == pytest.approx(
            expected.probabilities[row][order[:3]], abs=1e-6
        )
        assert (answer.words, answer.known_words) == (expected.words[row], expected.known_words[row])


def test_an_empty_text_is_valid_and_has_no_words(stub: pb2_grpc.TextClassifierStub) -> None:
    (answer,) = stub.Classify(request(texts=[""])).classifications
    assert (answer.words, answer.known_words) == (0, 0)
    assert answer.label


@pytest.mark.parametrize(("top_k", "scores"), [(0, 0), (1, 1), (5, 5), (2**31 - 1, 5)])
def test_top_k_gives_that_many_scores_and_no_more_than_there_are_classes(
    stub: pb2_grpc.TextClassifierStub, top_k: int, scores: int
) -> None:
    (answer,) = stub.Classify(request(top_k=top_k)).classifications
    probabilities = [score.probability for score in answer.scores]
    assert len(probabilities) == scores
    assert probabilities == sorted(probabilities, reverse=True)


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"texts": []}, "texts", "send at least one"),
        ({"texts": ["a"] * 101}, "texts", "at most 100"),
        ({"texts": ["a", "b" * 1001]}, "texts[1]", "has 1001 bytes; at most 1000"),
        ({"texts": ["é" * 501]}, "texts[0]", "has 1002 bytes; at most 1000"),
        ({"top_k": -1}, "top_k", "negative"),
        ({"model": ""}, "model", "available are sentiment, topic"),
        ({"version": -1}, "version", "negative"),
    ],
)
def test_a_wrong_field_is_invalid_argument_and_named(
    stub: pb2_grpc.TextClassifierStub, fields: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(grpc.RpcError) as error:
        stub.Classify(request(**fields))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    (violation,) = unpack(status_of(error.value), error_details_pb2.BadRequest).field_violations
    assert violation.field == field
    assert says in violation.description
    assert field in str(error.value.details())


def test_texts_at_the_limits_are_answered(stub: pb2_grpc.TextClassifierStub) -> None:
    texts = ["é" * 500, *["a"] * 99]
    assert len(stub.Classify(request(texts=texts)).classifications) == 100


@pytest.mark.parametrize(
    ("fields", "resource", "says"),
    [
        ({"model": "nobody"}, "models/nobody", "sentiment, topic"),
        ({"model": "../topic"}, "models/../topic", "sentiment, topic"),
        ({"version": 7}, "models/topic/versions/7", "available: version 1"),
    ],
)
def test_an_unknown_model_or_version_is_not_found_with_those_that_exist(
    stub: pb2_grpc.TextClassifierStub, fields: dict[str, Any], resource: str, says: str
) -> None:
    with pytest.raises(grpc.RpcError) as error:
        stub.Classify(request(**fields))
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
    info = unpack(status_of(error.value), error_details_pb2.ResourceInfo)
    assert info.resource_name == resource
    assert says in str(error.value.details())


def test_a_model_name_of_a_megabyte_still_gets_its_status(stub: pb2_grpc.TextClassifierStub) -> None:
    with pytest.raises(grpc.RpcError) as error:
        stub.Classify(request(model="x" * 1_000_000))
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.fixture(scope="module", params=["compiled", "tensorflow"])
def stream_stub(request: pytest.FixtureRequest, tiny_models: Path) -> Iterator[pb2_grpc.TextClassifierStub]:
    """A server for each engine: one answers a stream request by request, for the other it is read ahead."""
    with (
        serving(tiny_models, "--engine", request.param, "--workers", "1") as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        yield pb2_grpc.TextClassifierStub(channel)


def test_a_stream_answers_each_request_in_order(stream_stub: pb2_grpc.TextClassifierStub) -> None:
    counts = [number % 7 for number in range(500)]
    responses = stream_stub.ClassifyStream(request(texts=["a " * count]) for count in counts)
    assert [response.classifications[0].words for response in responses] == counts


def test_a_stream_answers_before_its_next_request_comes(stream_stub: pb2_grpc.TextClassifierStub) -> None:
    answered = threading.Semaphore(1)

    def one_at_a_time() -> Iterator[pb2.ClassifyRequest]:
        for _ in range(3):
            assert answered.acquire(timeout=60)
            yield request()

    for _ in stream_stub.ClassifyStream(one_at_a_time()):
        answered.release()


def test_a_stream_ends_at_its_first_wrong_request_after_the_answers_before_it(
    stream_stub: pb2_grpc.TextClassifierStub,
) -> None:
    responses = stream_stub.ClassifyStream(iter([request(), request(), request(texts=[]), request()]))
    assert len([next(responses), next(responses)]) == 2
    with pytest.raises(grpc.RpcError) as error:
        next(responses)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert unpack(status_of(error.value), error_details_pb2.BadRequest).field_violations[0].field == "texts"


def test_a_stream_explains_the_requests_that_ask_for_it(stream_stub: pb2_grpc.TextClassifierStub) -> None:
    asked = [number % 3 == 0 for number in range(100)]
    responses = list(stream_stub.ClassifyStream(request(explain=explain) for explain in asked))
    assert [response.classifications[0].HasField("explanation") for response in responses] == asked


def test_an_explanation_is_of_the_winning_label(stub: pb2_grpc.TextClassifierStub, tiny_models: Path) -> None:
    folder = VersionFolder(tiny_models / "topic" / "1")
    explainer = Explainer(folder)
    texts = [*TEXTS, "a film", "a film, DULL", "a dull café"]
    response = stub.Classify(request(texts=texts, explain=True))
    assert len({answer.label for answer in response.classifications}) > 2
    for text, answer in zip(texts, response.classifications, strict=True):
        expected = explainer.explain(text, folder.labels.index(answer.label))
        assert answer.explanation.bias == expected.bias
        words = [(word.word, word.start, word.end, word.known, word.contribution) for word in answer.explanation.words]
        assert words == expected.words


def test_what_explains_is_loaded_once_for_a_version_and_only_when_it_is_asked_for(tiny_models: Path) -> None:
    with serving(tiny_models, "--workers", "1") as server, grpc.insecure_channel(server.address) as channel:
        stub = pb2_grpc.TextClassifierStub(channel)
        for explain in (False, True, True):
            stub.Classify(request(explain=explain))
            stub.Classify(request(model="sentiment"))
    loaded = [line for line in server.log if line["event"] == "explainer loaded"]
    assert [(line["model"], line["version"]) for line in loaded] == [("topic", 1)]


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["a"] * 65, "at most 64 are explained"),
        (["a" * 33_000] * 2, "at most 65536 are explained in a request (the server's --max-explain-bytes)"),
    ],
)
def test_more_than_a_request_may_have_explained_is_invalid_argument(
    stream_stub: pb2_grpc.TextClassifierStub, texts: list[str], says: str
) -> None:
    assert stream_stub.Classify(request(texts=texts)).classifications
    with pytest.raises(grpc.RpcError) as error:
        stream_stub.Classify(request(texts=texts, explain=True))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    (violation,) = unpack(status_of(error.value), error_details_pb2.BadRequest).field_violations
    assert violation.field == "texts"
    assert says in violation.description


def test_a_version_whose_files_have_changed_is_not_explained_from_them(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "topic")
    flags = ("--workers", "1", "--watch-interval", "0")
    with serving(tmp_path, *flags) as server, grpc.insecure_channel(server.address) as channel:
        stub = pb2_grpc.TextClassifierStub(channel)
        shutil.rmtree(folder.path / "variables")
        with pytest.raises(grpc.RpcError) as error:
            stub.Classify(request(explain=True))
        assert stub.Classify(request()).classifications
    assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    (violation,) = unpack(status_of(error.value), error_details_pb2.PreconditionFailure).violations
    assert (violation.type, violation.subject) == ("EXPLAIN", "models/topic/versions/1")
    assert violation.description == "its files have changed since it was loaded"


def test_models_are_listed_and_described(stub: pb2_grpc.TextClassifierStub) -> None:
    models = stub.ListModels(pb2.ListModelsRequest()).models
    assert [(model.name, model.version) for model in models] == [("sentiment", 1), ("topic", 1)]
    topic = stub.GetModel(pb2.GetModelRequest(name="topic"))
    assert topic == models[1]
    assert topic.state == pb2.Model.STATE_AVAILABLE
    assert list(topic.labels) == ["grain", "crude", "gold", "ship", "tin"]
    assert (topic.vocabulary_size, topic.trained_on, topic.test_accuracy) == (14, "made up", 0.5)
    assert topic.in_service
    with pytest.raises(grpc.RpcError) as error:
        stub.GetModel(pb2.GetModelRequest(name="nobody"))
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("service", ["", SERVICE])
def test_health_is_serving_overall_and_for_the_service(channel: grpc.Channel, service: str) -> None:
    health: Any = health_pb2_grpc.HealthStub(channel)
    assert health.Check(health_pb2.HealthCheckRequest(service=service)).status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as error:
        health.Check(health_pb2.HealthCheckRequest(service="another"))
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


def test_reflection_gives_the_contract(channel: grpc.Channel) -> None:
    database: Any = ProtoReflectionDescriptorDatabase(channel)
    assert set(database.get_services()) >= {SERVICE, "grpc.health.v1.Health"}
    described = database.FindFileContainingSymbol(SERVICE)
    assert described.name == "text_classifier/v1/text_classifier.proto"


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_describes_every_listed_service_and_method(channel: grpc.Channel, version: str) -> None:
    def answers(*requests: reflection_pb2.ServerReflectionRequest) -> list[reflection_pb2.ServerReflectionResponse]:
        return list(call(iter(requests), timeout=60))

    call = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    (listed,) = answers(reflection_pb2.ServerReflectionRequest(list_services=""))
    services = [service.name for service in listed.list_services_response.service]
    assert f"grpc.reflection.{version}.ServerReflection" in services
    for service in services:
        (answer,) = answers(reflection_pb2.ServerReflectionRequest(file_containing_symbol=service))
        (file, *_) = map(FileDescriptorProto.FromString, answer.file_descriptor_response.file_descriptor_proto)
        (described,) = (each for each in file.service if f"{file.package}.{each.name}" == service)
        methods = [f"{service}.{method.name}" for method in described.method]
        found = answers(*(reflection_pb2.ServerReflectionRequest(file_containing_symbol=method) for method in methods))
        assert [each.file_descriptor_response for each in found] == [answer.file_descriptor_response] * len(methods)
    missing = (f"{SERVICE}.Nothing", "nobody.Nothing", "")
    for answer in answers(*(reflection_pb2.ServerReflectionRequest(file_containing_symbol=each) for each in missing)):
        assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def test_metrics_count_calls_texts_and_codes_over_http(tiny_models: Path) -> None:
    with serving(tiny_models, "--workers", "2") as server, grpc.insecure_channel(server.address) as channel:
        stub = pb2_grpc.TextClassifierStub(channel)
        for _ in range(3):
            stub.Classify(request(texts=["oil film", "zzz", ""]))
        with pytest.raises(grpc.RpcError):
            stub.Classify(request(model="secret-model-name", texts=["secret text"]))
        with pytest.raises(grpc.RpcError):  # bytes that are no message
            channel.unary_unary(f"/{SERVICE}/Classify", bytes)(b"\xff secret")
        text = server.metrics()
        log = json.dumps(server.log)
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    method = f'grpc_method="Classify",grpc_service="{SERVICE}",grpc_type="unary"'
    model = '{model="topic",version="1"}'
    assert lines[f"grpc_server_started_total{{{method}}}"] == "5.0"
    assert lines[f'grpc_server_handled_total{{grpc_code="OK",{method}}}'] == "3.0"
    assert lines[f'grpc_server_handled_total{{grpc_code="NotFound",{method}}}'] == "1.0"
    assert lines[f'grpc_server_handled_total{{grpc_code="InvalidArgument",{method}}}'] == "1.0"
    assert lines[f"grpc_server_handling_seconds_count{{{method}}}"] == "5.0"
    assert sum(float(value) for name, value in lines.items() if name.startswith("text_classifier_texts_total")) == 9
    assert lines[f"text_classifier_winning_probability_count{model}"] == "9.0"
    # Texts without words have no share of unknown ones.
    assert lines[f"text_classifier_unknown_word_ratio_count{model}"] == "6.0"
    assert lines[f"text_classifier_unknown_word_ratio_sum{model}"] == "3.0"
    for histogram in ("inference_seconds", "queue_seconds", "batch_texts"):
        assert float(lines[f"text_classifier_{histogram}_count{model}"]) == 3
    assert lines['text_classifier_model_info{engine="compiled",model="topic",version="1"}'] == "1.0"
    assert float(lines['process_resident_memory_bytes{worker="0"}']) > 0
    assert "secret" not in text
    assert "secret" not in log


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with TensorFlow, which fails at "poison" and lets hardly any request wait."""
    models = tmp_path_factory.mktemp("failing")
    write_model(models, "topic", poison="poison")
    with serving(models, "--workers", "1", "--engine", "tensorflow", "--max-queue-texts", "1") as server:
        yield server


def test_an_engine_failure_is_internal_with_its_trace_in_the_log_alone(failing: ServerProcess) -> None:
    with grpc.insecure_channel(failing.address) as channel:
        stub = pb2_grpc.TextClassifierStub(channel)
        with pytest.raises(grpc.RpcError) as error:
            stub.Classify(request(texts=["poison"]))
        assert error.value.code() is grpc.StatusCode.INTERNAL
        assert error.value.details() == "internal error; the server's log has the cause"
        failure = failing.event("request failed")
        assert failure["error"] == "InvalidArgumentError"
        assert "tensorflow_engine.py" in failure["trace"]
        assert "poison" not in json.dumps(failing.log)
        assert stub.Classify(request()).classifications


def test_a_full_queue_turns_requests_away_with_the_time_to_come_again(failing: ServerProcess) -> None:
    with grpc.insecure_channel(failing.address) as channel:
        stub = pb2_grpc.TextClassifierStub(channel)
        calls = [stub.Classify.future(request(texts=["a film"] * 100)) for _ in range(64)]
        refused = [call for call in calls if call.exception()]
        assert 0 < len(refused) < len(calls)
        assert {call.code() for call in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        delay = unpack(status_of(refused[0]), error_details_pb2.RetryInfo).retry_delay
        assert delay.ToMilliseconds() > 0


def test_tensorflow_serves_what_the_compiled_engine_cannot_and_the_log_says_why(
    tmp_path: Path,
) -> None:
    metadata = write_model(tmp_path, "topic").metadata_file
    metadata.write_text(metadata.read_text().replace('"sigmoid"', '"linear"'))  # the graph still has its sigmoid
    with serving(tmp_path, "--workers", "1") as server, grpc.insecure_channel(server.address) as channel:
        model = pb2_grpc.TextClassifierStub(channel).GetModel(pb2.GetModelRequest(name="topic"))
        assert model.engine == "tensorflow"
        assert "softmax" in server.event("compiled engine refused", model="topic", version=1)["reason"]
        assert 'text_classifier_model_info{engine="tensorflow",model="topic",version="1"} 1.0' in server.metrics()
    assert all(line["event"] for line in server.log)  # TensorFlow's own lines would have none


def test_a_version_that_fails_a_probe_never_serves_and_the_one_before_does(tmp_path: Path) -> None:
    write_model(tmp_path, "topic")
    changed = write_model(tmp_path, "topic", seed=1)
    shutil.copy(VersionFolder(tmp_path / "topic" / "1").probes_file, changed.probes_file)
    with serving(tmp_path) as server, grpc.insecure_channel(server.address) as channel:
        stub = pb2_grpc.TextClassifierStub(channel)
        assert stub.Classify(request()).version == 1
        refused = stub.GetModel(pb2.GetModelRequest(name="topic", version=2))
        assert refused.state == pb2.Model.STATE_FAILED
        assert "probe 1" in refused.state_reason
        assert server.event("model refused", model="topic", version=2)
        with pytest.raises(grpc.RpcError) as error:
            stub.Classify(request(version=2))
        assert error.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_folder_without_models_is_one_clear_line_and_status_1(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "nowhere")
    assert server.wait() == 1
    assert "no model to serve" in server.event("cannot start")["reason"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("--port", "cannot listen on"),
        ("--http-port", "cannot listen on"),
        ("--metrics-port", "cannot serve metrics on"),
    ],
)
def test_a_taken_port_is_one_clear_line_and_status_1(tiny_models: Path, name: str, says: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = ServerProcess(tiny_models, name, str(port))
        assert server.wait() == 1
    assert f"{says} 127.0.0.1:{port}" in server.event("cannot start")["reason"]


def test_metrics_and_grpc_have_each_their_own_host(tiny_models: Path) -> None:
    with socket.socket() as first, socket.socket() as second:
        for taken in (first, second):  # bound, and so nobody listens there
            taken.bind(("127.0.0.1", 0))
        port, metrics_port = (taken.getsockname()[1] for taken in (first, second))
        flags = ("--host", "127.0.0.2", "--port", str(port), "--metrics-host", "127.0.0.3")
        with serving(tiny_models, *flags, "--metrics-port", str(metrics_port)):
            for address in (("127.0.0.2", port), ("127.0.0.3", metrics_port)):
                socket.create_connection(address).close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_server_after_the_requests_in_flight(tiny_models: Path, number: signal.Signals) -> None:
    with serving(tiny_models) as server, grpc.insecure_channel(server.address) as channel:
        stub = pb2_grpc.TextClassifierStub(channel)
        sending, stopping = threading.Event(), threading.Event()

        def requests() -> Iterator[pb2.ClassifyRequest]:
            yield request()
            sending.set()
            assert stopping.wait(60)
            yield request()

        responses = stub.ClassifyStream(requests())
        next(responses)
        assert sending.wait(60)
        server.signal(number)
        server.event("stopping")
        stopping.set()
        assert len(list(responses)) == 1
        assert server.wait() == 0
        assert server.event("stopped")


def test_health_is_not_serving_until_models_are_loaded_and_watchers_hear_of_it(tiny_models: Path) -> None:
    server = ServerProcess(tiny_models, "--workers", "1", "--engine", "tensorflow")  # which takes seconds to load
    try:
        with grpc.insecure_channel(server.address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            watch = health.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=120)
            seen = [next(watch).status, next(watch).status]
            server.signal(signal.SIGTERM)
            seen.append(next(watch).status)
    finally:
        server.process.kill()
        server.wait()
    not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
    assert seen == [not_serving, health_pb2.HealthCheckResponse.SERVING, not_serving]
