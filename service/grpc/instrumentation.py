"""Wraps the handlers of all services: checks the token, reads and decodes the request, records metrics, observes the
call, and maps errors to statuses.

Handlers are wrapped once, at registration. With an interceptor, gRPC would look up the handler in every call.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any
from urllib.parse import unquote

import grpc
import grpc.aio

from service.errors import InvalidArgument, RequestTimeout, RequestTooLarge, TooManyCalls
from service.grpc.channel_options import METADATA_BYTES, METADATA_OVERHEAD
from service.grpc.decoding import DecodingLimits, RequestDecoder
from service.grpc.status import SERVER_FAULTS, drop_tracebacks, status_code, status_of
from service.security.tokens import Tokens
from service.telemetry.call_observer import REQUEST_ID, Kind, Observation, Observer, rpc
from service.telemetry.metrics import Method, MethodMetrics
from service.telemetry.shared_metrics import MetricsPage

# The kinds of handler, and the names that the metrics have for them.
_TYPES = {
    "unary_unary": "unary",
    "stream_unary": "client_stream",
    "unary_stream": "server_stream",
    "stream_stream": "bidi_stream",
}


MAX_WAITING_CALLS = 1000
"""Maximum number of calls of a method, per worker, that stream or whose request has not arrived yet."""


MESSAGE_SECONDS = 60.0
"""Maximum time until the request of a call has arrived. The requests of a stream have no limit."""


@dataclass(frozen=True)
class Instruments:
    """The instruments of every call, over gRPC and HTTP."""

    page: MetricsPage
    """The metrics page of this worker."""
    tokens: Tokens | None = None
    """The accepted tokens. None: calls need no token."""
    observer: Observer | None = None
    """Gives calls ids, and writes the access log and the traces. None: calls are not observed."""
    native_page: MetricsPage | None = None
    """The metrics page of calls that the native transport answers without Python. None: it answers no calls."""


class InstrumentedServer:
    """Takes the place of a `grpc.aio.Server` when generated code registers a servicer's handlers.

    Args:
        server: gets the wrapped handlers.
        instruments: the instruments of every call.
        limits: the bounds of each request.
        probes: names of services that need no token and are not observed.
    """

    def __init__(self, server: Any, instruments: Instruments, limits: DecodingLimits, probes: Collection[str]) -> None:
        self._server = server
        self._instruments = instruments
        self._limits = limits
        self._probes = probes

    def register(self, add_to_server: Callable[..., None], servicer: object) -> None:
        """Registers a servicer with its generated function `add_..._to_server`."""
        add_to_server(servicer, self)

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Does nothing, since generated code registers the same handlers in another form too."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Wraps and registers the handlers of a service."""
        wrapped = {name: self._wrapped(service, name, handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, wrapped),))
        self._server.add_registered_method_handlers(service, wrapped)

    def _wrapped(self, service: str, name: str, handler: Any) -> Any:
        """Wraps a handler as one that takes a stream, so that the wrapper decides when a request is read."""
        kind = next(kind for kind in _TYPES if getattr(handler, kind))
        tokens, observer = self._instruments.tokens, self._instruments.observer
        if service in self._probes:
            tokens = observer = None
        decode = RequestDecoder(handler.request_deserializer.__self__, self._limits)
        method = _Method(
            behaviour=getattr(handler, kind),
            read=_each(decode) if handler.request_streaming else _one(decode, _WaitingCalls(name)),
            metrics=MethodMetrics(self._instruments.page, Method(_TYPES[kind], service, name)),
            tokens=tokens,
            observe=partial(_observe, observer, rpc(service, name)) if observer else None,
            streaming=_WaitingCalls(name),
        )
        respond = _respond_with_stream if inspect.isasyncgenfunction(method.behaviour) else _respond
        kind = "stream_stream" if handler.response_streaming else "stream_unary"
        changes = {**dict.fromkeys(_TYPES), kind: respond(method)}
        return handler._replace(request_streaming=True, request_deserializer=None, **changes)


class _WaitingCalls:
    """Counts and limits the calls of a method that wait for their clients, since each takes about 20 kB.

    Args:
        method: the name of the method.
    """

    def __init__(self, method: str) -> None:
        self._method = method
        self._count = 0

    def __enter__(self) -> None:
        if self._count >= MAX_WAITING_CALLS:
            raise TooManyCalls(self._method, MAX_WAITING_CALLS)
        self._count += 1

    def __exit__(self, *_: object) -> None:
        self._count -= 1


_Read = Callable[[Any], Awaitable[Any]]
"""Reads a behaviour's argument from a call's context: a request, or an iterator of requests."""


def _one(decode: RequestDecoder, waiting: _WaitingCalls) -> _Read:
    async def read(context: Any) -> Any:
        with waiting:
            try:
                async with asyncio.timeout(MESSAGE_SECONDS):
                    message = await context.read()
            except TimeoutError as error:
                raise RequestTimeout(f"the request did not arrive within {MESSAGE_SECONDS:g} s") from error
        if message is grpc.aio.EOF:
            raise InvalidArgument("request", "is missing: send one message")
        return await decode(message)

    return read


def _each(decode: RequestDecoder) -> _Read:
    # gRPC's own iterator is in a reference cycle with its last message.
    async def decoded(context: Any) -> AsyncIterator[Any]:
        while (message := await context.read()) is not grpc.aio.EOF:
            yield await decode(message)

    async def read(context: Any) -> AsyncIterator[Any]:
        return decoded(context)

    return read


@dataclass(frozen=True)
class _Method:
    """A wrapped method."""

    behaviour: Any
    read: _Read
    metrics: MethodMetrics
    tokens: Tokens | None
    observe: Callable[[Any], Observation] | None
    streaming: _WaitingCalls
    """The method's open calls, if it streams responses."""

    def admit(self, context: Any) -> None:
        """Checks a call before anything of its request is read.

        Raises:
            RequestTooLarge: the metadata exceed their limit.
            Unauthenticated: the call needs a token and has no valid one.
        """
        metadata = context.invocation_metadata()
        if sum(len(key) + len(value) + METADATA_OVERHEAD for key, value in metadata) > METADATA_BYTES:
            raise RequestTooLarge(f"metadata: is larger than the maximum of {METADATA_BYTES} bytes")
        if self.tokens:
            self.tokens.check(next((value for key, value in metadata if key == "authorization"), ""))


def _respond(method: _Method) -> Callable[[Any, Any], Any]:
    async def respond(_: AsyncIterator[bytes], context: Any) -> Any:
        rpc = _Rpc(method, context)
        try:
            method.admit(context)
            response = await method.behaviour(await method.read(context), context)
        except BaseException as error:
            await rpc.failed(error)
            raise
        rpc.ended(grpc.StatusCode.OK)
        return response

    return respond


def _respond_with_stream(method: _Method) -> Callable[[Any, Any], AsyncIterator[Any]]:
    async def respond(_: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        rpc = _Rpc(method, context)
        try:
            method.admit(context)
            with method.streaming:
                async for response in method.behaviour(await method.read(context), context):
                    yield response
        except BaseException as error:
            await rpc.failed(error)
            raise
        rpc.ended(grpc.StatusCode.OK)

    return respond


def _observe(observer: Observer, kind: Kind, context: Any) -> Observation:
    client = unquote(context.peer().partition(":")[2])  # of ipv4:127.0.0.1:5000 or ipv6:%5B::1%5D:5000
    observation = observer.begin(kind, dict(context.invocation_metadata()), client, {})
    context.set_trailing_metadata(((REQUEST_ID, observation.request_id),))
    return observation


class _Rpc:
    """One call in flight."""

    __slots__ = ("_context", "_metrics", "_observation", "_start")

    def __init__(self, method: _Method, context: Any) -> None:
        self._metrics = method.metrics
        self._context = context
        self._start = perf_counter()
        self._observation = method.observe(context) if method.observe else None
        self._metrics.started()

    def ended(self, code: grpc.StatusCode) -> None:
        """Records the end."""
        self._metrics.handled(code, perf_counter() - self._start)
        if self._observation:
            self._observation.end(code.name, fault=code in SERVER_FAULTS)

    async def failed(self, error: BaseException) -> None:
        """Records the end, and aborts the call unless that has been done. If it returns, raise `error` again."""
        context = self._context
        match error:
            case grpc.aio.AbortError():
                _forget_later(error)
                self.ended(status_code(context.code()))
            case Exception():
                status = status_of(error)
                code = status_code(status.code)
                self.ended(code)
                details = ("grpc-status-details-bin", status.SerializeToString())
                try:
                    await context.abort(code, status.message, (*(context.trailing_metadata() or ()), details))
                except grpc.aio.AbortError as abort:
                    _forget_later(abort)
                    raise
            case _:  # cancelled: by the client, or by its deadline
                left = context.time_remaining()
                late = left is not None and left <= 0
                self.ended(grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED)


def _forget_later(abort: grpc.aio.AbortError) -> None:
    """Drops the error's traceback once gRPC has caught it.

    The call refers to the error, the error to its traceback, the traceback to frames, a frame to the context, and the
    context to the call. This reference cycle would keep the request until the garbage collector runs.
    """
    asyncio.get_running_loop().call_soon(drop_tracebacks, abort)
