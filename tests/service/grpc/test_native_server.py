"""The native transport alone, under a servicer in Python and others' clients."""

import asyncio
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from array import array
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from tests.http2 import DATA, END_HEADERS, END_STREAM, HEADERS, connected, frame, header_block
from tests.service.grpc.interop_service import Servicer, pb2, pb2_grpc, served

native_server = pytest.importorskip("service.grpc.native_server", reason="the native transport is not built")

LIMIT = 1 << 20


def new_server() -> Any:
    return native_server.NativeServer([("grpc.max_receive_message_length", LIMIT)])


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with served(new_server) as port:
        yield port


@pytest.fixture(scope="module")
def stub(port: int) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield pb2_grpc.TestServiceStub(channel)


@pytest.mark.parametrize(
    "case",
    [
        "empty_unary",
        "large_unary",
        "client_streaming",
        "server_streaming",
        "ping_pong",
        "empty_stream",
        "custom_metadata",
        "status_code_and_message",
        "special_status_message",
        "unimplemented_method",
        "unimplemented_service",
        "cancel_after_begin",
        "cancel_after_first_response",
        "timeout_on_sleeping_server",
    ],
)
def test_the_interoperability_client_of_grpc_go_passes(case: str, port: int) -> None:
    client = shutil.which("grpc-interop-client")
    if not client:
        pytest.skip("needs grpc-interop-client: google.golang.org/grpc/interop/client, by this name")
    command = [client, "--server_host=127.0.0.1", f"--server_port={port}", f"--test_case={case}"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_requests_are_read(stub: Any, compression: grpc.Compression) -> None:
    request = pb2.SimpleRequest(response_size=10, payload=pb2.Payload(body=b"text" * 1000))
    assert len(stub.UnaryCall(request, compression=compression, timeout=60).payload.body) == 10
    requests = (pb2.StreamingInputCallRequest(payload=pb2.Payload(body=bytes(1000))) for _ in range(10))
    assert stub.StreamingInputCall(requests, compression=compression, timeout=60).aggregated_payload_size == 10_000


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_responses_are_compressed_where_the_handler_asks_for_it(compression: grpc.Compression) -> None:
    class Compressing(Servicer):
        async def UnaryCall(self, request: Any, context: Any) -> Any:
            context.set_compression(compression)
            return await super().UnaryCall(request, context)

        async def StreamingOutputCall(self, request: Any, context: Any) -> AsyncIterator[Any]:
            context.set_compression(compression)
            async for response in super().StreamingOutputCall(request, context):
                context.disable_next_message_compression()
                yield response
                yield response

    with served(new_server, Compressing()) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = pb2_grpc.TestServiceStub(channel)
        response = stub.UnaryCall(pb2.SimpleRequest(response_size=100_000), timeout=60)
        assert response.payload.body == bytes(100_000)
        wanted = pb2.StreamingOutputCallRequest(response_parameters=[pb2.ResponseParameters(size=1000)])
        assert [len(part.payload.body) for part in stub.StreamingOutputCall(wanted, timeout=60)] == [1000, 1000]


def test_a_message_over_the_limit_is_refused_however_it_comes(stub: Any) -> None:
    large = pb2.SimpleRequest(payload=pb2.Payload(body=bytes(LIMIT)))
    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        with pytest.raises(grpc.RpcError) as error:
            stub.UnaryCall(large, compression=compression, timeout=60)
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_handler_hears_that_its_client_has_gone() -> None:
    begun, ended = threading.Event(), threading.Event()

    class Waiting(Servicer):
        async def UnaryCall(self, request: Any, context: Any) -> Any:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                if context.cancelled():
                    ended.set()

    with served(new_server, Waiting()) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = pb2_grpc.TestServiceStub(channel).UnaryCall.future(pb2.SimpleRequest())
        assert begun.wait(60)
        call.cancel()
        assert ended.wait(60)


def test_a_server_without_calls_stops_at_once_whatever_its_grace() -> None:
    async def test() -> None:
        server = new_server()
        server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with asyncio.timeout(60):
            await server.stop(grace=3600)

    asyncio.run(test())


def test_a_handler_that_fails_ends_its_own_call_alone(stub: Any) -> None:
    class Failing(Servicer):
        async def EmptyCall(self, request: Any, context: Any) -> Any:
            raise ArithmeticError

    with (
        capture_logs() as logs,
        served(new_server, Failing()) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        failing = pb2_grpc.TestServiceStub(channel)
        with pytest.raises(grpc.RpcError) as error:
            failing.EmptyCall(pb2.Empty(), timeout=60)
        assert error.value.code() is grpc.StatusCode.UNKNOWN
        assert failing.UnaryCall(pb2.SimpleRequest(response_size=1), timeout=60).payload.body == b"\0"
    assert [(line["event"], line["error"]) for line in logs] == [("handler failed", "ArithmeticError")]


def test_a_panic_ends_its_own_call_alone_with_internal_and_is_logged() -> None:
    def with_broken_metrics() -> Any:
        server = new_server()
        add = server.add_registered_method_handlers

        def add_with_metrics(service: str, handlers: Any) -> None:
            add(service, handlers)
            numbers = {"started": array("d", [0]), "handled": [array("d", [0])] * 5}
            seconds = array("d", [0]), (1.0, 2.0)  # no place for its buckets, so counting a call panics
            server.add_fast_method(f"/{service}/FullDuplexCall", "classify-stream", {**numbers, "seconds": seconds})

        server.add_registered_method_handlers = add_with_metrics
        return server

    large = pb2.StreamingOutputCallRequest(payload=pb2.Payload(body=bytes(LIMIT)))
    with (
        capture_logs() as logs,
        served(with_broken_metrics) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        stub = pb2_grpc.TestServiceStub(channel)
        with pytest.raises(grpc.RpcError) as error:
            list(stub.FullDuplexCall(iter([large]), timeout=60))
        assert (error.value.code(), error.value.details()) == (grpc.StatusCode.INTERNAL, "internal error")
        assert stub.UnaryCall(pb2.SimpleRequest(response_size=1), timeout=60).payload.body == b"\0"
    (line,) = logs
    assert line["event"] == "native transport failed"
    assert "metrics.rs:" in line["at"]


def test_a_handler_sees_the_client_s_own_metadata_alone_and_each_binary_value() -> None:
    seen: list[tuple[str, str | bytes]] = []

    class Seeing(Servicer):
        async def EmptyCall(self, request: Any, context: Any) -> Any:
            seen.extend(context.invocation_metadata())
            return pb2.Empty()

    method = {":method": "POST", ":scheme": "http", ":path": "/grpc.testing.TestService/EmptyCall"}
    metadata = {"content-type": "application/grpc", "te": "trailers", "key": "value", "key-bin": "AAE,Ag=="}
    with served(new_server, Seeing()) as port, connected(f"127.0.0.1:{port}") as connection:
        connection.send(frame(HEADERS, header_block({**method, **metadata}), END_HEADERS, 1))
        connection.send(frame(DATA, bytes(5), END_STREAM, 1))
        while connection.receive().stream != 1:  # until the call is answered
            pass
    assert seen == [("key", "value"), ("key-bin", b"\0\1"), ("key-bin", b"\2")]


def test_a_handler_s_metadata_come_before_and_behind_the_response(stub: Any) -> None:
    initial, trailing = ("x-grpc-test-echo-initial", "value"), ("x-grpc-test-echo-trailing-bin", b"\0\xff")
    _, call = stub.UnaryCall.with_call(pb2.SimpleRequest(), metadata=(initial, trailing), timeout=60)
    assert initial in call.initial_metadata()
    assert trailing in call.trailing_metadata()


def test_an_address_that_cannot_be_listened_on_is_told() -> None:
    with pytest.raises(RuntimeError, match=r"cannot listen on 192\.0\.2\.1:0: "):
        new_server().add_insecure_port("192.0.2.1:0")


def test_a_request_of_http_1_is_told_that_the_port_is_that_of_grpc(port: int) -> None:
    for body in (None, bytes(100_000)):
        with pytest.raises(urllib.error.HTTPError, match="400") as error:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", body, timeout=60)
        assert b"This is the port of gRPC" in error.value.read()


def test_metadata_that_http_2_cannot_carry_fails_the_call_that_gives_it() -> None:
    class Wrong(Servicer):
        async def EmptyCall(self, request: Any, context: Any) -> Any:
            context.set_trailing_metadata((("no key", "\n"),))
            return pb2.Empty()

    with served(new_server, Wrong()) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.RpcError) as error:
            pb2_grpc.TestServiceStub(channel).EmptyCall(pb2.Empty(), timeout=60)
        assert error.value.code() is grpc.StatusCode.UNKNOWN
