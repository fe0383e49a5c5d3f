"""gRPC's interoperability test service, in Python, and a server of it in a thread of its own."""

import asyncio
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc


def _stubs() -> tuple[Any, Any]:
    """Generates the stubs in another process: protoc in this one does not agree with other libraries' protobuf."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = [f"--python_out={folder}", f"--grpc_python_out={folder}"]
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{Path(__file__).parent}", *outputs]
        subprocess.run([*command, "interop_service.proto"], check=True)
        sys.path.insert(0, folder)
        try:
            return import_module("interop_service_pb2"), import_module("interop_service_pb2_grpc")
        finally:
            sys.path.remove(folder)


pb2: Any
pb2_grpc: Any
pb2, pb2_grpc = _stubs()

_ECHO_INITIAL = "x-grpc-test-echo-initial"
_ECHO_TRAILING = "x-grpc-test-echo-trailing-bin"


def _payload(size: int) -> Any:
    return pb2.Payload(body=bytes(size))


async def _echo_metadata(context: Any) -> None:
    metadata = dict(context.invocation_metadata())
    if _ECHO_INITIAL in metadata:
        await context.send_initial_metadata(((_ECHO_INITIAL, metadata[_ECHO_INITIAL]),))
    if _ECHO_TRAILING in metadata:
        context.set_trailing_metadata(((_ECHO_TRAILING, metadata[_ECHO_TRAILING]),))


async def _abort_if_asked(request: Any, context: Any) -> None:
    if request.response_status.code:
        code = next(code for code in grpc.StatusCode if code.value[0] == request.response_status.code)
        await context.abort(code, request.response_status.message)


class Servicer(pb2_grpc.TestServiceServicer):
    """The service as gRPC's test descriptions ask for it."""

    async def EmptyCall(self, request: Any, context: Any) -> Any:
        return pb2.Empty()

    async def UnaryCall(self, request: Any, context: Any) -> Any:
        await _echo_metadata(context)
        await _abort_if_asked(request, context)
        return pb2.SimpleResponse(payload=_payload(request.response_size))

    async def StreamingOutputCall(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for wanted in request.response_parameters:
            yield pb2.StreamingOutputCallResponse(payload=_payload(wanted.size))

    async def StreamingInputCall(self, requests: AsyncIterator[Any], context: Any) -> Any:
        size = 0
        async for request in requests:
            size += len(request.payload.body)
        return pb2.StreamingInputCallResponse(aggregated_payload_size=size)

    async def FullDuplexCall(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        await _echo_metadata(context)
        async for request in requests:
            await _abort_if_asked(request, context)
            for wanted in request.response_parameters:
                yield pb2.StreamingOutputCallResponse(payload=_payload(wanted.size))


@contextmanager
def served(make_server: Callable[[], Any], servicer: Servicer | None = None) -> Iterator[int]:
    """Serves the test service with a server of `grpc.aio.Server`'s surface. Yields its port."""
    started, port = threading.Event(), 0
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        nonlocal port
        server = make_server()
        pb2_grpc.add_TestServiceServicer_to_server(servicer or Servicer(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        started.set()
        await stop.wait()
        await server.stop(0)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(60)
        yield port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
