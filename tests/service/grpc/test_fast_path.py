"""What the native transport answers without Python: the same answers, errors and counts that the servicers give."""

import math
import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.grpc.stubs import open_inference_pb2 as infer_pb2
from service.grpc.stubs import open_inference_pb2_grpc as infer_grpc
from tests.http2 import DATA, END_STREAM, RST_STREAM, Frame, connected, frame, grpc_request
from tests.server_process import ROOT, ServerProcess, serving
from tests.wire_format import raw_tensor, varint
from text_classifier.v1 import text_classifier_pb2 as pb2
from text_classifier.v1 import text_classifier_pb2_grpc as pb2_grpc
from textmodel import VersionFolder
from textmodel.metadata import Abstention

pytest.importorskip("service.grpc._native_server", reason="the native transport is not built")

MAX_TEXTS, MAX_BYTES = 20, 2000
DECOMPOSED = "e\u0301\u0327 \u1112\u1161\u11ab \u0ba8\u0bc6\u0bbe"
"""Letters and marks that Unicode normalization composes."""
TEXTS = st.text(max_size=30) | st.sampled_from(
    ["a moving film", "ΟΔΥΣΣΕΥΣ İ", DECOMPOSED, "x" * MAX_BYTES, "x" * (MAX_BYTES + 1), "oil " * 400]
)
CLASSIFY, INFER = "/text_classifier.v1.TextClassifier/Classify", "/inference.GRPCInferenceService/ModelInfer"
MODELS = st.sampled_from(["sentiment", "topic", "topic", "nsmc", "nsmc", "nowhere", ""])


@pytest.fixture(scope="module")
def servers(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ServerProcess]]:
    """A server of each transport, alike otherwise. `sentiment` has thresholds, and `nsmc` reads Unicode text."""
    models = tmp_path_factory.mktemp("fast-path") / "models"
    shutil.copytree(tiny_models, models)
    sentiment = VersionFolder(models / "sentiment" / "1")
    abstention = Abstention(0.95, (0.55, 2.0))
    msgspec.structs.replace(sentiment.metadata, abstention=abstention).write(sentiment.metadata_file)
    (models / "nsmc").symlink_to(ROOT / "models" / "nsmc")
    flags = ("--workers", "1", "--max-texts", str(MAX_TEXTS), "--max-text-bytes", str(MAX_BYTES))
    with (
        serving(models, "--transport", "native", *flags) as native,
        serving(models, "--transport", "grpcio", *flags) as grpcio,
    ):
        yield {"native": native, "grpcio": grpcio}


@pytest.fixture(scope="module")
def channels(servers: dict[str, ServerProcess]) -> Iterator[list[grpc.Channel]]:
    with (
        grpc.insecure_channel(servers["native"].address) as native,
        grpc.insecure_channel(servers["grpcio"].address) as grpcio,
    ):
        yield [native, grpcio]


def outcome(call: Any, request: Any) -> Any:
    """The response, or how the call failed."""
    try:
        return call(request, timeout=60)
    except grpc.RpcError as error:
        metadata: Any = error.trailing_metadata()
        details = dict(metadata).get("grpc-status-details-bin")
        return error.code(), error.details(), details


classify_requests = st.builds(
    pb2.ClassifyRequest,
    model=MODELS,
    version=st.sampled_from([0, 0, 1, 2, -1]),
    texts=st.lists(TEXTS, max_size=MAX_TEXTS + 2),
    top_k=st.sampled_from([0, 0, 1, 3, 100, -1]),
    explain=st.sampled_from([False, False, False, True]),
    min_probability=st.sampled_from([0, 0, 0.3, 0.6, 1, 1.5, -1, math.nan]),
    use_thresholds=st.sampled_from([False, False, True]),
)


@given(request=classify_requests)
def test_classify_answers_as_the_servicer_does(channels: list[grpc.Channel], request: pb2.ClassifyRequest) -> None:
    native, grpcio = (outcome(pb2_grpc.TextClassifierStub(channel).Classify, request) for channel in channels)
    assert native == grpcio


@given(requests=st.lists(classify_requests, max_size=5))
def test_a_stream_answers_as_the_servicer_does_up_to_its_first_error(
    channels: list[grpc.Channel], requests: list[pb2.ClassifyRequest]
) -> None:
    def answers(channel: grpc.Channel) -> tuple[list[Any], Any]:
        received: list[Any] = []
        try:
            for response in pb2_grpc.TextClassifierStub(channel).ClassifyStream(iter(requests), timeout=60):
                received.append(response)
        except grpc.RpcError as error:
            return received, (error.code(), error.details())
        return received, None

    native, grpcio = map(answers, channels)
    assert native == grpcio


@st.composite
def infer_requests(draw: st.DrawFn) -> infer_pb2.ModelInferRequest:
    texts = [text.encode() for text in draw(st.lists(TEXTS, max_size=MAX_TEXTS + 2))]
    request = infer_pb2.ModelInferRequest(
        model_name=draw(MODELS), model_version=draw(st.sampled_from(["", "1", "01", "x"])), id=draw(st.text(max_size=5))
    )
    shape = draw(st.sampled_from([[len(texts)], [len(texts)], [len(texts), 1], [len(texts) + 1], [], [1, 2, 3]]))
    tensor = request.inputs.add(
        name=draw(st.sampled_from(["text", "text", "text", "other"])),
        datatype=draw(st.sampled_from(["BYTES", "BYTES", "BYTES", "FP32"])),
        shape=shape,
    )
    if draw(st.booleans()):
        request.raw_input_contents.append(raw_tensor(texts))
    else:
        tensor.contents.bytes_contents.extend(texts)
    for name in draw(st.lists(st.sampled_from(["label", "probability", "probabilities", "other"]), max_size=3)):
        request.outputs.add(name=name)
    return request


@given(request=infer_requests())
def test_infer_answers_as_the_servicer_does(channels: list[grpc.Channel], request: infer_pb2.ModelInferRequest) -> None:
    native, grpcio = (outcome(infer_grpc.GRPCInferenceServiceStub(channel).ModelInfer, request) for channel in channels)
    assert native == grpcio


@given(message=st.binary(max_size=60) | classify_requests.map(lambda request: request.SerializeToString()[:-1]))
def test_bytes_that_may_be_no_message_are_answered_alike(channels: list[grpc.Channel], message: bytes) -> None:
    for method in (CLASSIFY, INFER):
        native, grpcio = (outcome(channel.unary_unary(method), message) for channel in channels)
        assert native == grpcio


@st.composite
def wire_messages(draw: st.DrawFn, depth: int = 3) -> bytes:
    """Fields of any number and type, in any order, repeated, long-winded, cut off: what no library would write."""
    parts = []
    for _ in range(draw(st.integers(0, 6))):
        number, wire_type = draw(st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 16, 0, 1 << 28])), draw(WIRE_TYPES)
        contents = b""
        if wire_type == 0:
            contents = padded(draw(st.sampled_from([0, 1, 2, 3, 20, (1 << 31) - 1, (1 << 64) - 1])), draw(PADDING))
        elif wire_type == 2:
            nested = wire_messages(depth=depth - 1) if depth else st.nothing()
            value = draw(st.sampled_from(VALUES) | nested)
            contents = padded(len(value), draw(PADDING)) + value
        parts.append(padded(number << 3 | wire_type, draw(PADDING)) + contents + b"\0" * {1: 8, 5: 4}.get(wire_type, 0))
    whole = b"".join(parts)
    return whole[: len(whole) - draw(st.sampled_from([0, 0, 0, 1]))]


WIRE_TYPES = st.sampled_from([2, 2, 2, 2, 0, 0, 1, 3, 4, 5, 6])
PADDING = st.sampled_from([0, 0, 0, 0, 1, 5, 9])
VALUES = [b"topic", b"text", b"BYTES", b"label", b"", b"1", b"oil", b"\1", b"\3\0\0\0oil", b"\xff", b"\xed\xa0\x80"]


def padded(value: int, count: int) -> bytes:
    """A number with so many bytes more than it needs."""
    plain = varint(value)
    return plain[:-1] + bytes([plain[-1] | 0x80]) + b"\x80" * (count - 1) + b"\0" if count else plain


@given(fields=wire_messages())
def test_fields_as_no_library_writes_them_are_answered_alike(channels: list[grpc.Channel], fields: bytes) -> None:
    classify = pb2.ClassifyRequest(model="topic", texts=["oil"]).SerializeToString()
    tensor = infer_pb2.ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=[1])
    infer = infer_pb2.ModelInferRequest(model_name="topic", inputs=[tensor], raw_input_contents=[b"\3\0\0\0oil"])
    for method, valid in ((CLASSIFY, classify), (INFER, infer.SerializeToString())):
        for message in (fields, fields + valid, valid + fields):
            native, grpcio = (outcome(channel.unary_unary(method), message) for channel in channels)
            assert native == grpcio


@pytest.mark.parametrize("method", [CLASSIFY, INFER])
@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_what_is_too_large_is_refused_in_the_same_words(
    servers: dict[str, ServerProcess], method: str, compression: grpc.Compression
) -> None:
    large = pb2.ClassifyRequest(model="topic", texts=["x" * (17 << 20)]).SerializeToString()
    outcomes = []
    for server in servers.values():
        with grpc.insecure_channel(server.address, (("grpc.max_send_message_length", -1),)) as channel:
            outcomes.append(outcome(partial(channel.unary_unary(method), compression=compression), large))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("method", [CLASSIFY, INFER])
def test_a_request_without_a_message_is_refused_alike(channels: list[grpc.Channel], method: str) -> None:
    native, grpcio = (outcome(channel.stream_unary(method), iter([])) for channel in channels)
    assert native == grpcio
    assert native[0] is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("transport", ["native", "grpcio"])
@pytest.mark.parametrize("method", [CLASSIFY, CLASSIFY + "Stream"])
def test_a_request_that_arrives_after_its_deadline_gets_no_answer(
    servers: dict[str, ServerProcess], transport: str, method: str
) -> None:
    def dropped() -> float:
        name, lines = "text_classifier_dropped_requests_total{", servers[transport].metrics().splitlines()
        late = (line for line in lines if line.startswith(name) and 'reason="deadline"' in line)
        return sum(float(line.rsplit(" ", 1)[1]) for line in late)

    before = dropped()
    message = pb2.ClassifyRequest(model="topic", texts=["oil"]).SerializeToString()
    data = frame(DATA, b"\0" + len(message).to_bytes(4) + message, END_STREAM, stream=1)
    with connected(servers[transport].address) as connection:
        connection.send(grpc_request(method, 1, grpc_timeout="0S"), data)
        received: list[Frame] = []
        while not received or not (received[-1].kind == RST_STREAM or received[-1].flags & END_STREAM):
            received += [each for each in [connection.receive()] if each.stream == 1]
    assert DATA not in [each.kind for each in received]
    assert transport == "grpcio" or dropped() == before + 1  # grpcio may end the call before its handler begins


def test_a_stream_that_its_client_cancels_is_counted_as_cancelled(servers: dict[str, ServerProcess]) -> None:
    def ended(server: ServerProcess) -> dict[str, float]:
        stream = "grpc_server_handled_total{", 'grpc_method="ClassifyStream"'
        lines = (line.rsplit(" ", 1) for line in server.metrics().splitlines() if all(part in line for part in stream))
        return {re.findall(r"grpc_code=\"(\w+)\"", name)[0]: float(value) for name, value in lines}

    server, go_on = servers["native"], threading.Event()
    before = ended(server)

    def requests() -> Iterator[pb2.ClassifyRequest]:
        yield pb2.ClassifyRequest(model="topic", texts=["oil"])
        go_on.wait(60)

    with grpc.insecure_channel(server.address) as channel:
        stream = pb2_grpc.TextClassifierStub(channel).ClassifyStream(requests())
        assert next(stream).classifications
        stream.cancel()
        go_on.set()
    # The server hears of it a moment later.
    after = next(after for after in (ended(server) for _ in range(100_000)) if after != before)
    assert {code for code in after if after[code] != before.get(code, 0)} == {"Cancelled"}


def test_what_is_answered_without_python_is_counted_as_the_servicers_count(servers: dict[str, ServerProcess]) -> None:
    def counted(server: ServerProcess) -> dict[str, float]:
        lines = (line.rsplit(" ", 1) for line in server.metrics().splitlines() if line.startswith(("grpc_", "text_")))
        untimed = (line for line in lines if "seconds" not in line[0] and "model_" not in line[0])
        return {name: float(value) for name, value in untimed if float(value)}

    def changes(server: ServerProcess) -> dict[str, float]:
        before = counted(server)
        with grpc.insecure_channel(server.address) as channel:
            stub = pb2_grpc.TextClassifierStub(channel)
            assert stub.Classify(pb2.ClassifyRequest(model="topic", texts=["oil", "a film", ""]), timeout=60)
            assert len(list(stub.ClassifyStream(iter([pb2.ClassifyRequest(model="topic", texts=["gold"])] * 3)))) == 3
            tensor = infer_pb2.ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=[1])
            request = infer_pb2.ModelInferRequest(model_name="sentiment", inputs=[tensor])
            request.raw_input_contents.append(b"\4\0\0\0film")
            assert infer_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=60).outputs
        after = counted(server)
        return {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}

    assert changes(servers["native"]) == pytest.approx(changes(servers["grpcio"]))
