"""Whatever bytes a client sends to a method, over a channel that neither encodes nor decodes."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from service.grpc.stubs import open_inference_pb2 as oip_pb2
from tests.server_process import ServerProcess
from tests.textmodel.strategies import TEXTS
from tests.wire_format import raw_tensor, varint
from text_classifier.v1 import text_classifier_pb2 as pb2

CLASSIFY = "/text_classifier.v1.TextClassifier/Classify"
METHODS: dict[str, type[Message]] = {
    CLASSIFY: pb2.ClassifyRequest,
    "/text_classifier.v1.TextClassifier/ClassifyStream": pb2.ClassifyRequest,
    "/text_classifier.v1.TextClassifier/ListModels": pb2.ListModelsRequest,
    "/text_classifier.v1.TextClassifier/GetModel": pb2.GetModelRequest,
    "/inference.GRPCInferenceService/ServerLive": oip_pb2.ServerLiveRequest,
    "/inference.GRPCInferenceService/ServerReady": oip_pb2.ServerReadyRequest,
    "/inference.GRPCInferenceService/ModelReady": oip_pb2.ModelReadyRequest,
    "/inference.GRPCInferenceService/ServerMetadata": oip_pb2.ServerMetadataRequest,
    "/inference.GRPCInferenceService/ModelMetadata": oip_pb2.ModelMetadataRequest,
    "/inference.GRPCInferenceService/ModelInfer": oip_pb2.ModelInferRequest,
    "/grpc.health.v1.Health/Check": health_pb2.HealthCheckRequest,
    "/grpc.health.v1.Health/Watch": health_pb2.HealthCheckRequest,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": reflection_pb2.ServerReflectionRequest,
}
MAX_TEXTS, MAX_TEXT_BYTES, MAX_REQUEST_BYTES = 100, 1000, 200_000
URI_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/-]*")
"""Characters of RFC 3986 that need no escape."""
MALFORMED = grpc.StatusCode.INTERNAL
"""What a client makes of a stream that HTTP/2 refused."""
FUZZ = settings(settings.get_profile("fuzz"))


@pytest.fixture(scope="module")
def channel(server: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as open_channel:
        yield open_channel


def call(channel: grpc.Channel, method: str, messages: list[bytes]) -> tuple[grpc.StatusCode, list[bytes]]:
    """Calls a method of whatever kind; the messages go as they are. Watch would never end: its first answer does."""
    answers = []
    pending: Any = channel.stream_stream(method, bytes, bytes)(iter(messages), timeout=60)
    try:
        for answer in pending:
            answers.append(answer)
            if method.endswith("/Watch"):
                pending.cancel()
    except grpc.RpcError:
        pass
    return pending.code(), answers


# Numbers at which encodings and types end.
NUMBERS = st.one_of(
    st.sampled_from([(1 << bits) + near for bits in (0, 7, 31, 32, 63, 64, 70) for near in (-1, 0, 1)]),
    st.integers(0, 300),
)
NAMES = st.one_of(
    st.sampled_from(["sentiment", "topic", "", "grpc.health.v1.Health", "text_classifier.v1.TextClassifier"]),
    st.sampled_from(
        ["../x", "../sentiment", "/etc/passwd", "sentiment/1", "sentiment\0", "\0", ".", "%2e%2e", "\u202e"]
    ),
    st.text(),
    st.integers(0, MAX_REQUEST_BYTES).map("x".__mul__),
)
TEXT = st.one_of(TEXTS, st.text(), st.sampled_from([998, 999, 1000, 1001, 5000]).map("a".__mul__))


def field(number: int, wire_type: int, value: int, contents: bytes) -> bytes:
    """A field as a hostile encoder would write it: `value` is a number, or a length that need not be the contents'."""
    return varint(number << 3 | wire_type) + (varint(value) if wire_type in (0, 2) else b"") + contents


WIRE = st.recursive(
    st.binary(max_size=20),
    lambda inner: st.one_of(
        st.builds(field, st.integers(0, 11), st.integers(0, 7), NUMBERS, inner),
        st.builds(lambda number, value: field(number, 2, len(value), value), st.integers(1, 11), inner),
        st.lists(inner, max_size=5).map(b"".join),
    ),
)
DEEP = st.integers(1, 20_000).map(lambda depth: varint(3 << 3 | 3) * depth)  # groups in groups
INT64 = st.one_of(st.integers(-(1 << 63), (1 << 63) - 1), st.sampled_from([0, 1, 2, -1]))
INT32 = st.one_of(st.integers(-(1 << 31), (1 << 31) - 1), st.sampled_from([0, 1, 5, -1]))
TENSOR_NAMES = st.one_of(st.sampled_from(["text", "label", "probability", "probabilities"]), NAMES)
VERSIONS = st.one_of(st.sampled_from(["", "1", "0", "-1", "01", "9" * 5000, "١"]), st.text(max_size=3))
SHAPES = st.one_of(st.just([1]), st.just([2, 1]), st.lists(INT64, max_size=3))
VALUES = st.one_of(TEXT.map(str.encode), st.binary(max_size=20))
CONTENTS = st.builds(
    oip_pb2.InferTensorContents,
    bytes_contents=st.lists(VALUES, max_size=3),
    fp32_contents=st.lists(st.floats(width=32), max_size=2),
)
RAW = st.one_of(
    st.binary(max_size=20),
    st.lists(VALUES, max_size=3).map(raw_tensor),
    st.integers(1, MAX_REQUEST_BYTES // 2).map(bytes),
)
INFERENCES = st.builds(
    oip_pb2.ModelInferRequest,
    model_name=st.one_of(st.sampled_from(["sentiment", "topic"]), NAMES),
    model_version=VERSIONS,
    inputs=st.lists(
        st.builds(
            oip_pb2.ModelInferRequest.InferInputTensor,
            name=TENSOR_NAMES,
            datatype=st.one_of(st.just("BYTES"), st.text(max_size=5)),
            shape=SHAPES,
            contents=st.one_of(st.none(), CONTENTS),
        ),
        max_size=2,
    ),
    outputs=st.lists(st.builds(oip_pb2.ModelInferRequest.InferRequestedOutputTensor, name=TENSOR_NAMES), max_size=4),
    raw_input_contents=st.one_of(st.just([]), st.lists(RAW, max_size=2)),
)
VALID = st.one_of(
    INFERENCES,
    st.builds(oip_pb2.ModelReadyRequest, name=NAMES, version=VERSIONS),
    st.builds(
        pb2.ClassifyRequest, model=NAMES, version=INT64, texts=st.lists(TEXT, min_size=1, max_size=10), top_k=INT32
    ),
    st.builds(
        pb2.ClassifyRequest,
        model=st.sampled_from(["sentiment", "topic"]),
        texts=st.lists(TEXT),
        top_k=INT32,
        explain=st.booleans(),
    ),
    st.builds(pb2.GetModelRequest, name=NAMES, version=INT64),
    st.builds(health_pb2.HealthCheckRequest, service=NAMES),
    st.builds(reflection_pb2.ServerReflectionRequest, file_by_filename=NAMES),
    st.builds(reflection_pb2.ServerReflectionRequest, file_containing_symbol=NAMES),
    st.builds(reflection_pb2.ServerReflectionRequest, all_extension_numbers_of_type=NAMES),
).map(lambda message: message.SerializeToString())
DAMAGED = st.builds(
    lambda message, at, cut, put: message[: at % (len(message) + 1)] + put + message[at % (len(message) + 1) + cut :],
    VALID, st.integers(0), st.integers(0, 3), st.binary(max_size=3),
)  # fmt: skip
MESSAGES = st.one_of(st.binary(max_size=200), WIRE, DEEP, VALID, DAMAGED)


def readable(message: bytes, kind: type[Message]) -> bool:
    try:
        kind.FromString(message)
    except DecodeError:
        return False
    return True


@FUZZ
@given(
    calls=st.lists(st.tuples(st.sampled_from(list(METHODS)), st.lists(MESSAGES, min_size=1, max_size=4)), max_size=20)
)
def test_any_bytes_to_any_method_get_an_answer_or_a_status_that_blames_the_client(
    channel: grpc.Channel, survived: Callable[[], None], tried: Counter[str], calls: list[tuple[str, list[bytes]]]
) -> None:
    blames = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED}
    for method, messages in calls:
        code, _ = call(channel, method, messages)
        if not readable(messages[0], METHODS[method]):
            expected = {grpc.StatusCode.INVALID_ARGUMENT}
        elif method.endswith("/Watch"):
            expected = {grpc.StatusCode.CANCELLED}
        else:
            expected = {grpc.StatusCode.OK, *blames}
        if max(map(len, messages)) > MAX_REQUEST_BYTES:
            expected.add(grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert code in expected, (method, messages)
        tried["messages to the methods"] += len(messages)
    survived()


@FUZZ
@given(paths=st.lists(st.one_of(st.text(), st.sampled_from(list(METHODS)).map("{}/../x".format)), max_size=20))
def test_a_method_that_does_not_exist_is_unimplemented_whatever_its_name(
    server: ServerProcess, survived: Callable[[], None], tried: Counter[str], paths: list[str]
) -> None:
    # A connection of its own: the native transport closes one after a thousand malformed requests.
    with grpc.insecure_channel(server.address, (("grpc.use_local_subchannel_pool", 1),)) as channel:
        for path in paths:
            code, _ = call(channel, f"/{path}", [b""])
            # HTTP/2 itself may refuse a path that is not one of a URI.
            expected = {grpc.StatusCode.UNIMPLEMENTED} | (set() if URI_PATH.fullmatch(path) else {MALFORMED})
            assert code in expected, path
    tried["names of methods"] += len(paths)
    survived()


@FUZZ
@given(
    texts=st.integers(MAX_TEXTS - 2, MAX_TEXTS + 2),
    characters=st.integers(MAX_TEXT_BYTES // 4 - 2, MAX_TEXT_BYTES + 2),
    character=st.sampled_from("aéσ€😀\0"),
    request_bytes=st.one_of(st.just(0), st.integers(MAX_REQUEST_BYTES - 2, MAX_REQUEST_BYTES + 2)),
)
def test_sizes_at_a_limit_are_answered_and_past_it_refused(
    *,
    channel: grpc.Channel,
    survived: Callable[[], None],
    tried: Counter[str],
    texts: int,
    characters: int,
    character: str,
    request_bytes: int,
) -> None:
    text = characters * character
    request = pb2.ClassifyRequest(model="topic", texts=["oil"] * (texts - 1) + [text]).SerializeToString()
    if request_bytes:  # filled up with a field that the contract does not know
        length = request_bytes - len(request) - 4
        request += field(15, 2, length, bytes(length))
        assert len(request) == request_bytes
    code, answers = call(channel, CLASSIFY, [request])
    if request_bytes > MAX_REQUEST_BYTES:
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    elif texts > MAX_TEXTS or len(text.encode()) > MAX_TEXT_BYTES:
        assert code is grpc.StatusCode.INVALID_ARGUMENT
    else:
        assert code is grpc.StatusCode.OK
        assert len(pb2.ClassifyResponse.FromString(answers[0]).classifications) == texts
    tried["sizes at and past the limits"] += 1
    survived()
