"""What happens around every RPC of every service: it is counted and timed, observed if calls are, needs a token where
tokens are used, and its errors become statuses.

Handlers are wrapped once, when they are registered: an interceptor would be looked up anew in every call.
"""

import inspect
import traceback
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from functools import partial
from time import perf_counter
from typing import Any
from urllib.parse import unquote

import grpc
import grpc.aio
import structlog
from google.rpc import status_pb2

from service.errors import to_status
from service.security.tokens import Tokens
from service.telemetry.call_observer import REQUEST_ID, Kind, Observation, Observer, rpc
from service.telemetry.metrics import Method, MethodMetrics
from service.telemetry.shared_metrics import MetricsPage

_log = structlog.get_logger()

# The kinds of handler, and what these metrics call them.
_TYPES = {
    "unary_unary": "unary",
    "stream_unary": "client_stream",
    "unary_stream": "server_stream",
    "stream_stream": "bidi_stream",
}

# What OpenTelemetry's semantic conventions for gRPC take for a server's faults.
_FAULTS = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}


class InstrumentedServer:
    """Stands in for a `grpc.aio.Server` where generated code registers a servicer's handlers.

    Args:
        server: where the wrapped handlers go.
        page: where their metrics go.
        tokens: those that calls need, if they do.
        observer: observes calls, if they are to be observed.
        probes: the services that need no token even so, and are not observed.
    """

    def __init__(
        self,
        server: Any,
        page: MetricsPage,
        tokens: Tokens | None,
        observer: Observer | None,
        probes: Collection[str],
    ) -> None:
        self._server = server
        self._page = page
        self._tokens = tokens
        self._observer = observer
        self._probes = probes

    def register(self, add_to_server: Callable[..., None], servicer: object) -> None:
        """Registers a servicer with the `add_..._to_server` that was generated for it."""
        add_to_server(servicer, self)

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Takes no notice: generated code gives the same handlers in the other form too."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Registers a service's handlers, each wrapped."""
        probe = service in self._probes
        wrapped = {}
        for name, handler in handlers.items():
            kind = next(kind for kind in _TYPES if getattr(handler, kind))
            metrics = MethodMetrics(self._page, Method(_TYPES[kind], service, name))
            tokens = None if probe else self._tokens
            observe = partial(_observe, self._observer, rpc(service, name)) if self._observer and not probe else None
            begin = partial(_Rpc, metrics, observe)
            changes: dict[str, Any] = {}
            decode = _as_it_is
            if not handler.request_streaming:
                # gRPC would decode it before the RPC, where an error is neither counted nor told as the others are.
                changes["request_deserializer"], decode = None, handler.request_deserializer
            changes[kind] = _wrap(getattr(handler, kind), begin, tokens, decode)
            wrapped[name] = handler._replace(**changes)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, wrapped),))
        self._server.add_registered_method_handlers(service, wrapped)


def _as_it_is(requests: Any) -> Any:
    return requests


def _wrap(
    behaviour: Any, begin: "Callable[[Any], _Rpc]", tokens: Tokens | None, decode: Callable[[Any], Any]
) -> Callable[[Any, Any], Any]:
    async def respond(request: Any, context: Any) -> Any:
        rpc = begin(context)
        try:
            if tokens:
                tokens.check_call(context)
            response = await behaviour(decode(request), context)
        except BaseException as error:
            await rpc.failed(error)
            raise
        rpc.ended(grpc.StatusCode.OK)
        return response

    async def respond_with_stream(request: Any, context: Any) -> AsyncIterator[Any]:
        rpc = begin(context)
        try:
            if tokens:
                tokens.check_call(context)
            async for response in behaviour(decode(request), context):
                yield response
        except BaseException as error:
            await rpc.failed(error)
            raise
        rpc.ended(grpc.StatusCode.OK)

    return respond_with_stream if inspect.isasyncgenfunction(behaviour) else respond


def status_of(error: Exception) -> status_pb2.Status:
    """Returns the status that the client sees. The log has what it does not."""
    status = to_status(error)
    if status.code == grpc.StatusCode.INTERNAL.value[0]:
        # Not the error's own message: TensorFlow's may quote the text that it failed on.
        trace = "".join(traceback.format_tb(error.__traceback__))
        _log.error("request failed", error=type(error).__name__, trace=trace)
    return status


def _observe(observer: Observer, kind: Kind, context: Any) -> Observation:
    client = unquote(context.peer().partition(":")[2])  # of ipv4:127.0.0.1:5000 or ipv6:%5B::1%5D:5000
    observation = observer.begin(kind, dict(context.invocation_metadata()), client, {})
    context.set_trailing_metadata(((REQUEST_ID, observation.request_id),))
    return observation


class _Rpc:
    """One RPC under way."""

    __slots__ = ("_context", "_metrics", "_observation", "_start")

    def __init__(self, metrics: MethodMetrics, observe: Callable[[Any], Observation] | None, context: Any) -> None:
        self._metrics = metrics
        self._context = context
        self._start = perf_counter()
        self._observation = observe(context) if observe else None
        metrics.started()

    def ended(self, code: grpc.StatusCode) -> None:
        """Records the end."""
        self._metrics.handled(code, perf_counter() - self._start)
        if self._observation:
            self._observation.end(code.name, fault=code in _FAULTS)

    async def failed(self, error: BaseException) -> None:
        """Records the end, and tells the client unless it has been told. Raises, or returns for `error` to go on."""
        context = self._context
        match error:
            case grpc.aio.AbortError():
                self.ended(_code(context.code()))
            case Exception():
                status = status_of(error)
                code = _code(status.code)
                self.ended(code)
                details = ("grpc-status-details-bin", status.SerializeToString())
                await context.abort(code, status.message, (*(context.trailing_metadata() or ()), details))
            case _:  # cancelled: by the client, or by its deadline
                left = context.time_remaining()
                late = left is not None and left <= 0
                self.ended(grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED)


_CODES: dict[Any, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def _code(code: Any) -> grpc.StatusCode:
    """Gives the status code for its number, which the asyncio context has instead, too."""
    return _CODES.get(code, grpc.StatusCode.UNKNOWN) if isinstance(code, int) else code
