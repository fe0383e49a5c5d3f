"""Requests that are made to cost the server memory: large ones, compressed ones, ones of millions of elements."""

import asyncio
import gzip
import importlib.util
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.grpc.channel_options import MAX_STREAMS, METADATA_BYTES
from service.grpc.instrumentation import MAX_WAITING_CALLS
from service.grpc.stubs import open_inference_pb2 as oip_pb2
from tests.addresses import OWN_HOST, free_port
from tests.http2 import (
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    RST_STREAM,
    SETTINGS,
    connected,
    frame,
    grpc_request,
)
from tests.process_memory import growth
from tests.server_process import ServerProcess, serving
from tests.wire_format import varint
from text_classifier.v1 import text_classifier_pb2 as pb2

TOKEN = "a-token"
CLASSIFY = "/text_classifier.v1.TextClassifier/Classify"
STREAM = "/text_classifier.v1.TextClassifier/ClassifyStream"
INFER = "/inference.GRPCInferenceService/ModelInfer"
NATIVE = importlib.util.find_spec("service.grpc._native_server") is not None
SEPARATE = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1))
MIB = 1 << 20
AUTHORIZED = (("authorization", f"Bearer {TOKEN}"),)


@pytest.fixture(
    scope="module",
    params=["grpcio", pytest.param("native", marks=pytest.mark.skipif(not NATIVE, reason="needs cargo"))],
)
def guarded(
    request: pytest.FixtureRequest, tiny_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server of one worker that wants tokens."""
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(TOKEN)
    tokens.chmod(0o600)
    flags = ("--workers", "1", "--max-pending-calls", "2000", "--tokens", str(tokens), "--grace-period", "60")
    with serving(tiny_models, *flags, "--transport", request.param) as running:
        yield running


def test_a_method_with_a_query_is_unimplemented(guarded: ServerProcess) -> None:
    with grpc.insecure_channel(guarded.address) as channel:
        for path in (f"{CLASSIFY}?a=b", f"{CLASSIFY}?", f"{CLASSIFY}/"):
            unknown: Any = channel.unary_unary(path)
            with pytest.raises(grpc.RpcError) as refused:
                unknown(b"", timeout=60, metadata=AUTHORIZED)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.fixture
def call(guarded: ServerProcess) -> Iterator[Callable[..., grpc.StatusCode]]:
    """Sends a message to a method as it is. Returns the code, and sees to it that the error says something."""
    with grpc.insecure_channel(guarded.address, SEPARATE) as channel:

        def send(method: str, message: bytes, **further: Any) -> grpc.StatusCode:
            method_of: Any = channel.stream_stream(method)
            pending = method_of(iter([message]), timeout=60, **further)
            try:
                list(pending)
            except grpc.RpcError:
                assert pending.details()
            code: grpc.StatusCode = pending.code()
            return code

        yield send


def delimited(number: int, contents: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(contents)) + contents


LARGE = pb2.ClassifyRequest(model="topic", texts=["x" * (15 * MIB)]).SerializeToString()
MANY = 7 * MIB
"""Elements of two bytes in a message below the limit of 16 MiB."""


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (CLASSIFY, LARGE),
        (STREAM, LARGE),
        (CLASSIFY, pb2.ClassifyRequest(model="none", texts=["x" * MIB] * 15).SerializeToString()),
        (
            INFER,
            oip_pb2.ModelInferRequest(model_name="topic", raw_input_contents=[bytes(15 * MIB)]).SerializeToString(),
        ),
        (CLASSIFY, b"\xff" * 15 * MIB),
    ],
    ids=["text too large", "text in a stream too large", "no such model", "no tensor", "no protobuf"],
)
def test_a_refused_request_leaves_no_memory_behind(
    guarded: ServerProcess, call: Callable[..., grpc.StatusCode], method: str, message: bytes
) -> None:
    with growth(guarded) as measured:
        for _ in range(20):
            assert call(method, message, metadata=AUTHORIZED) in {
                grpc.StatusCode.INVALID_ARGUMENT,
                grpc.StatusCode.NOT_FOUND,
            }
    assert measured.peak < 100
    assert measured.left < 75  # a request takes 15, and 20 are sent


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (CLASSIFY, b"\x1a\0" * MANY),
        (STREAM, b"\x1a\0" * MANY),
        (INFER, delimited(5, delimited(5, b"\x42\0" * MANY))),
        (INFER, delimited(5, delimited(5, delimited(3, b"\1" * 2 * MANY)))),
        (INFER, delimited(5, delimited(3, b"\1" * 2 * MANY))),
        (INFER, b"\x2a\0" * MANY),
        (INFER, b"\x32\0" * MANY),
        (INFER, b"\x3a\0" * MANY),
        (INFER, b"\x22\0" * MANY),
        (INFER, delimited(5, b"\x22\0" * MANY)),
        (INFER, delimited(6, b"\x12\0" * MANY)),
    ],
    ids=[
        "texts",
        "texts in a stream",
        "bytes contents",
        "packed contents",
        "packed shape",
        "inputs",
        "outputs",
        "raw contents",
        "parameters",
        "parameters of an input",
        "parameters of an output",
    ],
)
def test_millions_of_elements_are_refused_before_they_take_memory(
    guarded: ServerProcess, call: Callable[..., grpc.StatusCode], method: str, message: bytes
) -> None:
    with growth(guarded) as measured:
        assert call(method, message, metadata=AUTHORIZED) is grpc.StatusCode.INVALID_ARGUMENT
        for _ in range(3):
            code = call(method, message, metadata=AUTHORIZED, compression=grpc.Compression.Gzip)
            assert code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert measured.peak < 100  # the message itself takes a part of that, twice


def test_without_a_token_nothing_is_decompressed(guarded: ServerProcess, call: Callable[..., grpc.StatusCode]) -> None:
    message = pb2.ClassifyRequest(model="topic", texts=[" " * MIB] * 15).SerializeToString()

    def send(method: str) -> grpc.StatusCode:
        return call(method, message, compression=grpc.Compression.Gzip)

    with growth(guarded) as measured, ThreadPoolExecutor(20) as pool:
        codes = set(pool.map(send, [CLASSIFY, STREAM, INFER] * 30))
    assert codes == {grpc.StatusCode.UNAUTHENTICATED}
    assert measured.peak < 20


def test_a_compressed_request_is_answered(guarded: ServerProcess, call: Callable[..., grpc.StatusCode]) -> None:
    for texts in (["oil"], [f"oil {number}" for number in range(1000)]):
        message = pb2.ClassifyRequest(model="topic", texts=texts).SerializeToString()
        for method in (CLASSIFY, STREAM):
            code = call(method, message, metadata=AUTHORIZED, compression=grpc.Compression.Gzip)
            assert code is grpc.StatusCode.OK


def test_what_is_not_gzip_is_refused(guarded: ServerProcess, call: Callable[..., grpc.StatusCode]) -> None:
    whole = gzip.compress(pb2.ClassifyRequest(model="topic", texts=["oil"]).SerializeToString())
    for damaged in (whole[:-1], whole[:5], whole[:2] + b"\0" * 30):
        code = call(CLASSIFY, damaged, metadata=AUTHORIZED)
        assert code is grpc.StatusCode.INVALID_ARGUMENT


def test_metadata_beyond_the_limit_get_a_reason_and_no_line_of_the_log(
    guarded: ServerProcess, call: Callable[..., grpc.StatusCode]
) -> None:
    lines = len(guarded.log)
    many = [(f"key-{number}", "value") for number in range(1000)]
    for further in (many, [("key", "x" * METADATA_BYTES)]):
        assert call(CLASSIFY, b"", metadata=(*AUTHORIZED, *further)) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert call(CLASSIFY, b"", metadata=AUTHORIZED) is not grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(guarded.log) == lines


def test_a_client_that_goes_without_its_answer_writes_no_line_of_the_log(guarded: ServerProcess) -> None:
    lines = len(guarded.log)
    message = pb2.ClassifyRequest(model="topic", texts=["oil"]).SerializeToString()
    no_window = frame(SETTINGS, INITIAL_WINDOW_SIZE.to_bytes(2, "big") + bytes(4))
    for _ in range(3):
        with connected(guarded.address) as connection:
            connection.send(no_window, grpc_request(CLASSIFY, 1, authorization=f"Bearer {TOKEN}"))
            connection.send(frame(DATA, b"\0" + len(message).to_bytes(4, "big") + message, END_STREAM, 1))
            while connection.receive().kind != HEADERS:
                pass
    with connected(guarded.address) as connection:  # a line would come before the server's answer
        connection.send(grpc_request(CLASSIFY, 1))
        while connection.receive().kind != HEADERS:
            pass
    assert guarded.log[lines:] == []


def code_of(method: Any, request: Any) -> grpc.StatusCode:
    try:
        method(request, timeout=60, wait_for_ready=True)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def send_a_path_that_is_not_utf_8(address: str) -> None:
    """Sends it, and waits until the port answers another client, while the connection stays open."""
    with connected(address) as connection, grpc.insecure_channel(address, SEPARATE) as channel:
        connection.send(grpc_request("/\udcff/Classify", stream=1))
        while connection.receive().kind not in (HEADERS, RST_STREAM, GOAWAY):
            pass
        health: Any = health_pb2_grpc.HealthStub(channel)
        codes = (code_of(health.Check, health_pb2.HealthCheckRequest()) for _ in range(1000))
        # Whoever connects to a server that ends loses the call, and calls again.
        lost = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        assert next(code for code in codes if code not in lost) is grpc.StatusCode.OK


def test_a_path_that_is_not_utf_8_closes_no_port_and_is_not_logged(guarded: ServerProcess) -> None:
    for _ in range(3):
        send_a_path_that_is_not_utf_8(guarded.address)
    assert not [line for line in guarded.log if "exception" in line or "xff" in str(line)]


def test_a_path_that_is_not_utf_8_leaves_the_other_port_alone(tiny_models: Path) -> None:
    health_port = free_port()
    flags = ("--workers", "1", "--transport", "grpcio", "--host", OWN_HOST, "--health-port", str(health_port))
    with (
        serving(tiny_models, *flags) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        send_a_path_that_is_not_utf_8(f"{OWN_HOST}:{health_port}")
        assert watch.is_active()
        send_a_path_that_is_not_utf_8(server.address)


@pytest.mark.parametrize("method", ["/grpc.health.v1.Health/Watch", STREAM, CLASSIFY])
def test_calls_that_wait_for_their_client_are_bounded(guarded: ServerProcess, method: str) -> None:
    beyond, connections = 50, 11
    many = MAX_WAITING_CALLS + beyond
    assert connections * MAX_STREAMS >= many

    async def test() -> None:
        channels = [grpc.aio.insecure_channel(guarded.address, SEPARATE) for _ in range(connections)]
        # A watch waits after its request, the others before it. A write to a call that is refused at this moment gives
        # INTERNAL in grpc.aio, so the watches send their request with their headers.
        watches = method.endswith("Watch")
        methods: list[Any] = [
            channel.unary_stream(method) if watches else channel.stream_stream(method) for channel in channels
        ]
        arguments = (b"",) if watches else ()
        calls = [methods[number % connections](*arguments, metadata=AUTHORIZED, timeout=60) for number in range(many)]
        codes = set()
        for code in islice(asyncio.as_completed([call.code() for call in calls]), beyond):
            codes.add(await code)
        assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        for call in calls:
            call.cancel()
        for channel in channels:
            await channel.close()

    with growth(guarded) as measured:
        asyncio.run(test())
    assert measured.peak < 100


def test_watchers_of_health_are_let_go_when_the_server_stops(guarded: ServerProcess) -> None:
    """The last test of this server: it stops it. Its grace period is longer than a test may take."""
    with grpc.insecure_channel(guarded.address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        guarded.signal(signal.SIGTERM)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert list(watch) == []
        assert watch.code() is grpc.StatusCode.OK
    assert guarded.wait() == 0
