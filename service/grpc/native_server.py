"""The native transport: the part of `grpc.aio.Server` that this project uses, on top of the extension in `native/`.

The extension implements the layers below a handler: HTTP/2, message framing and compression, deadlines, limits and TLS.
It passes calls to the event loop in batches, and wakes up the loop once per batch. This module starts a task for each
call.
"""

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

import grpc
import grpc.aio
import structlog
from google.rpc import status_pb2

from service.errors import StartError
from service.grpc._native_server import Call, Event, Message, MessageError, Server
from service.inference.servable import AnswerQueue
from service.security.reloaded_file import Reloaded
from service.security.tls import PemFiles

_log = structlog.get_logger()

Metadata = Sequence[tuple[str, str | bytes]]

WRITE_AHEAD = 4
"""Maximum number of response messages that HTTP/2 has not sent yet. Beyond that, the handler waits."""

FastKind = Literal["classify", "classify-stream", "infer"]
"""The kind of messages of a method that is answered without Python."""

_CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
_ENCODINGS: Mapping[Any, str | None] = {
    grpc.Compression.NoCompression: None,
    grpc.Compression.Deflate: "deflate",
    grpc.Compression.Gzip: "gzip",
}


class _Method(NamedTuple):
    """A handler, and the functions that parse and serialize its messages."""

    serve: Callable[["_Context"], Awaitable[None]]
    streams: bool
    """Whether the handler takes a stream of requests."""
    behaviour: Callable[..., Any]
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]


class NativeServer:
    """Serves handlers that are coroutines or asynchronous generators, on the running event loop.

    Args:
        options: channel arguments of `grpc.aio.server`. Those that the extension does not know are ignored.
        threads: number of threads that share the ports.
        overload: a serialized `google.rpc.Status`, sent when too many calls wait for a handler.
    """

    def __init__(self, options: Sequence[tuple[str, int]], threads: int = 1, overload: bytes = b"") -> None:
        self._server = Server(list(options), threads)
        if overload:
            self._server.set_overload_status(overload)
        self._methods: list[_Method] = []
        self._contexts: dict[int, _Context] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._certificates: Reloaded[PemFiles] | None = None
        self._pem: PemFiles | None = None
        self._descriptor: int | None = None
        self._stopped = asyncio.Event()
        self._events: dict[int, Callable[..., None]] = {
            Event.CALL: self._begin,
            Event.MESSAGE: self._received,
            Event.SENT: self._sent,
            Event.CANCELLED: self._cancelled,
            Event.HANDSHAKE: self._handshake,
            Event.STOPPED: self._stopped.set,
            Event.PANICKED: self._panicked,
            Event.ANSWERED: lambda wake: wake(),
        }

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Does nothing, since generated code registers the same handlers in another form too."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Registers the handlers of a service."""
        for name, handler in handlers.items():
            self._server.add_method(f"/{service}/{name}")
            self._methods.append(_method(handler))

    def add_insecure_port(self, address: str) -> int:
        """Listens without encryption. Returns the port, or 1 for a socket of the file system, as gRPC does.

        Raises:
            RuntimeError: the address cannot be listened on.
        """
        return self._listen(address, tls=False)

    def add_secure_port(self, address: str, certificates: Reloaded[PemFiles]) -> int:
        """Listens with TLS. Each handshake uses the current certificates.

        Raises:
            RuntimeError: the address cannot be listened on.
            StartError: the certificates cannot be used.
        """
        self._certificates = certificates
        self._use(certificates.get())
        return self._listen(address, tls=True)

    def set_request_limits(self, limits: dict[str, int]) -> None:
        """Sets the limits of requests that are answered without Python: see the extension's stub."""
        self._server.set_request_limits(limits)

    def add_fast_method(self, path: str, kind: FastKind, metrics: dict[str, Any]) -> None:
        """Has plain requests of a method answered without Python: see the extension's stub."""
        self._server.add_fast_method(path, kind, metrics)

    def set_tokens(self, path: Path, stamp: tuple[int, ...], digests: Sequence[bytes]) -> None:
        """Sets the tokens of calls that are answered without Python: see the extension's stub."""
        if stamp:
            self._server.set_tokens(path, stamp, list(digests))

    def set_request_ids(self) -> None:
        """Gives ids to calls that are answered without Python: see the extension's stub."""
        self._server.set_request_ids()

    def answer_queue(self, share: float, max_texts: int, max_bytes: int, wake: Callable[[], None]) -> AnswerQueue:
        """Returns a queue for the answers of a version: see the extension's stub."""
        return self._server.answer_queue(share, max_texts, max_bytes, wake)

    def publish(self, versions: list[dict[str, Any]]) -> None:
        """Replaces the model versions that are answered without Python: see the extension's stub."""
        self._server.publish(versions)

    def _listen(self, address: str, *, tls: bool) -> int:
        try:
            if address.startswith("unix:"):
                self._server.add_unix_socket(unquote(address.removeprefix("unix:")), tls)
                return 1
            host, _, port = address.rpartition(":")
            return self._server.add_port(host.strip("[]"), int(port), tls)
        except OSError as error:
            raise RuntimeError(f"cannot listen on {address}: {error}") from error

    async def start(self) -> None:
        """Begins to serve."""
        self._descriptor = self._server.start()
        asyncio.get_running_loop().add_reader(self._descriptor, self._take)

    async def stop(self, grace: float | None) -> None:
        """Refuses new calls, and ends the others after `grace` seconds; None: immediately."""
        self._server.drain()
        try:
            async with asyncio.timeout(grace or 0):
                await self._stopped.wait()
        except TimeoutError:
            self._server.close()
            await self._stopped.wait()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._descriptor is not None:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            self._descriptor = None

    def _take(self) -> None:
        for kind, *event in self._server.take():
            self._events[kind](*event)

    def _begin(self, number: int, call: Call, index: int, message: Message | None) -> None:
        context = self._contexts[number] = _Context(call, self._methods[index], message)
        task = context.task = asyncio.get_running_loop().create_task(context.serve())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._contexts.pop(number, None))

    def _received(self, number: int, message: Message | None) -> None:
        if context := self._contexts.get(number):
            context.received(message)

    def _sent(self, number: int) -> None:
        if context := self._contexts.get(number):
            context.sent()

    def _cancelled(self, number: int) -> None:
        if context := self._contexts.get(number):
            context.cancel()

    def _handshake(self, handshake: Any) -> None:
        self._reload()
        handshake.proceed()

    def _panicked(self, place: str) -> None:
        _log.error("native transport failed", at=place)

    def _reload(self) -> None:
        assert self._certificates
        pem = self._certificates.get()
        if pem is not self._pem:
            try:
                self._use(pem)
            except StartError as error:
                _log.error("not reloaded", what="certificates of gRPC", reason=str(error))

    def _use(self, pem: PemFiles) -> None:
        self._pem = pem
        try:
            self._server.set_certificates(pem.certificate, pem.key, pem.client_ca)
        except ValueError as error:  # OpenSSL has accepted them
            raise StartError(
                f"the native transport cannot use the certificates: {error}; take keys of RSA from 2048 bits, ECDSA"
                " P-256 or P-384, or Ed25519, or --transport grpcio"
            ) from error


def _method(handler: Any) -> _Method:
    """Chooses how a handler is served, by whether its requests and responses are streams."""
    kind = ("stream" if handler.request_streaming else "unary") + (
        "_stream" if handler.response_streaming else "_unary"
    )
    behaviour = getattr(handler, kind)
    if not handler.response_streaming:
        serve = _answer
    elif inspect.isasyncgenfunction(behaviour):
        serve = _answer_with_stream
    else:
        serve = _answer_by_writing
    decode, encode = handler.request_deserializer or _as_it_is, handler.response_serializer or _as_it_is
    return _Method(serve, handler.request_streaming, behaviour, decode, encode)


def _as_it_is(message: Any) -> Any:
    return message


async def _answer(context: "_Context") -> None:
    context.answer(await context.method.behaviour(await context.request(), context))


async def _answer_with_stream(context: "_Context") -> None:
    async for response in context.method.behaviour(await context.request(), context):
        await context.write(response)


async def _answer_by_writing(context: "_Context") -> None:
    await context.method.behaviour(await context.request(), context)


class _Context:
    """The context of one call, as `grpc.aio.ServicerContext` describes it."""

    __slots__ = (
        "_call",
        "_callbacks",
        "_cancelled",
        "_code",
        "_compress_next",
        "_details",
        "_encoding",
        "_ended",
        "_headers_sent",
        "_inbox",
        "_reader",
        "_reading",
        "_trailing",
        "_unsent",
        "_writer",
        "method",
        "task",
    )

    def __init__(self, call: Call, method: _Method, message: Message | None) -> None:
        self.method = method
        self.task: asyncio.Task[None] | None = None
        self._call = call
        self._code: grpc.StatusCode = grpc.StatusCode.OK
        self._details = ""
        self._trailing: Metadata = ()
        self._encoding: str | None = None
        self._compress_next = True
        self._headers_sent = False
        self._ended = False
        self._cancelled = False
        self._callbacks: list[Callable[[Any], None]] = []
        self._inbox: deque[Message | None] = deque((message,) if message else ())
        self._reading = False
        self._reader: asyncio.Future[None] | None = None
        self._unsent = 0
        self._writer: asyncio.Future[None] | None = None

    # ---- The call's life ----

    async def serve(self) -> None:
        """Runs the handler and ends the call, even if the handler fails."""
        try:
            await self.method.serve(self)
            self._finish(self._code, self._details)
        except grpc.aio.AbortError:
            if not self._ended:
                _log.error("abort error without an abort")
                self._finish(grpc.StatusCode.UNKNOWN, "")
        except asyncio.CancelledError:
            self._finish(grpc.StatusCode.CANCELLED, "")
        except Exception as error:  # a failing handler ends only its own call
            _log.error("handler failed", error=type(error).__name__)
            self._trailing = ()  # the metadata may be what failed
            self._finish(grpc.StatusCode.UNKNOWN, f"Unexpected {type(error)}")
        finally:
            self._ended = True
            self.task = None
            for callback in self._callbacks:
                callback(self)

    async def request(self) -> Any:
        """Returns the handler's argument: the request, or the stream of requests."""
        return self._requests() if self.method.streams else await self.read()

    async def _requests(self) -> AsyncIterator[Any]:
        while (request := await self.read()) is not grpc.aio.EOF:
            yield request

    def received(self, message: Message | None) -> None:
        """Receives the next message of the request; None: its end."""
        self._reading = False
        self._inbox.append(message)
        _wake(self._reader)

    def sent(self) -> None:
        """Notes that HTTP/2 has sent a message."""
        self._unsent -= 1
        _wake(self._writer)

    def cancel(self) -> None:
        """Cancels the handler, since the client no longer waits for the response."""
        self._cancelled = self._ended = True
        if self.task:
            self.task.cancel()

    def answer(self, response: Any) -> None:
        """Sends the only message and the status."""
        message = self.method.encode(response)
        if self._ended:
            return
        encoding = self._begin_message()
        self._call.answer(message, encoding, self._code.value[0], self._details, self._trailing or None)
        self._ended = True

    def _begin_message(self) -> str | None:
        """Sends the headers if they are needed. Returns the encoding of the next message."""
        if self._encoding and not self._headers_sent:
            self._send_headers(())
        encoding, self._compress_next = self._encoding if self._compress_next else None, True
        return encoding

    def _send_headers(self, metadata: Metadata) -> None:
        self._headers_sent = True
        self._call.send_headers(metadata or None, self._encoding)

    def _finish(self, code: grpc.StatusCode, details: str) -> None:
        if not self._ended:
            self._call.finish(code.value[0], details, self._trailing or None)
            self._ended = True

    # ---- What handlers use ----

    async def read(self) -> Any:
        """Returns the next message of the request, or `grpc.aio.EOF`.

        Raises:
            grpc.aio.AbortError: the message cannot be decompressed, or is too large then. The call has ended.
        """
        while not self._inbox:
            if not self._reading:
                self._reading = True
                self._call.read()
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        message = self._inbox[0]
        if message is None:
            return grpc.aio.EOF
        self._inbox.popleft()
        try:
            return self.method.decode(message.bytes())
        except MessageError as error:
            code, details = error.args
            status = status_pb2.Status(code=code, message=details)
            await self.abort(_CODES[code], details, (("grpc-status-details-bin", status.SerializeToString()),))

    async def write(self, message: Any) -> None:
        """Sends a message. Waits while too many messages are unsent."""
        encoded = self.method.encode(message)
        while self._unsent >= WRITE_AHEAD:
            self._writer = asyncio.get_running_loop().create_future()
            await self._writer
        self._unsent += 1
        encoding = self._begin_message()
        self._headers_sent = True
        self._call.send_message(encoded, encoding)

    async def send_initial_metadata(self, initial_metadata: Metadata) -> None:
        """Sends the headers."""
        if self._headers_sent:
            raise RuntimeError("Send initial metadata failed: already sent")
        self._send_headers(tuple(initial_metadata))

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> None:
        """Ends the call with an error.

        Raises:
            grpc.aio.AbortError: always, to end the handler.
            RuntimeError: the call has ended already.
        """
        if self._ended:
            raise RuntimeError("Abort has already been called")
        if code is grpc.StatusCode.OK:
            code, details = grpc.StatusCode.UNKNOWN, "Trying to abort with OK"
        self._code, self._details = code, details
        self._trailing = tuple(trailing_metadata) or self._trailing
        self._finish(code, details)
        raise grpc.aio.AbortError("Locally aborted.")

    async def abort_with_status(self, status: grpc.Status) -> None:
        """Ends the call with an error. Raises as `abort` does."""
        await self.abort(status.code, status.details, status.trailing_metadata or ())

    def set_trailing_metadata(self, trailing_metadata: Metadata) -> None:
        """Sets the trailing metadata."""
        self._trailing = tuple(trailing_metadata)

    def trailing_metadata(self) -> Metadata:
        """Returns the trailing metadata."""
        return self._trailing

    def invocation_metadata(self) -> Metadata:
        """Returns the client's metadata."""
        return self._call.metadata()

    def set_code(self, code: grpc.StatusCode | int) -> None:
        """Sets the status's code."""
        self._code = _CODES.get(code, grpc.StatusCode.UNKNOWN) if isinstance(code, int) else code

    def set_details(self, details: str) -> None:
        """Sets the status's message."""
        self._details = details

    def code(self) -> grpc.StatusCode:
        """Returns the status's code."""
        return self._code

    def details(self) -> str:
        """Returns the status's message."""
        return self._details

    def set_compression(self, compression: grpc.Compression) -> None:
        """Compresses the messages, if the client accepts that.

        Raises:
            RuntimeError: the headers, which name the encoding, have been sent.
        """
        if self._headers_sent:
            raise RuntimeError("Compression setting must be specified before sending initial metadata")
        encoding = _ENCODINGS[compression]
        self._encoding = encoding if encoding and self._call.accepts(encoding) else None

    def disable_next_message_compression(self) -> None:
        """Sends the next message uncompressed."""
        self._compress_next = False

    def peer(self) -> str:
        """Returns the client's address."""
        return self._call.peer()

    def peer_identities(self) -> Iterable[bytes] | None:
        """Returns None: the transport does not report the names in the client's certificate."""
        return None

    def peer_identity_key(self) -> str | None:
        """Returns nothing: see `peer_identities`."""
        return None

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Returns nothing: see `peer_identities`."""
        return {}

    def time_remaining(self) -> float | None:
        """Returns the seconds until the deadline, at least 0; None: no deadline."""
        left = self._call.time_remaining()
        return None if left is None else max(0.0, left)

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Calls the callback with this context when the call has ended."""
        self._callbacks.append(callback)

    def cancelled(self) -> bool:
        """Tells whether the client has cancelled the call."""
        return self._cancelled

    def done(self) -> bool:
        """Tells whether the call has ended."""
        return self._ended


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter and not waiter.done():
        waiter.set_result(None)
