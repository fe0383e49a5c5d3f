"""Observes single calls: a line in the access log, and the spans of a trace.

If both are off, it costs one lookup of a context variable per request.
"""

import re
import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import structlog

if TYPE_CHECKING:
    from service.telemetry.tracing import Trace, Tracer

_log = structlog.get_logger()

REQUEST_ID = "x-request-id"
"""The HTTP header, or key of gRPC metadata, of a request's id. The response returns it."""

_VISIBLE = re.compile(r"[!-~]{1,128}")
_USER_AGENT = re.compile(r"[ -~]{1,128}")


class Kind(NamedTuple):
    """The kind of a call. Attributes have the names of OpenTelemetry's semantic conventions for gRPC and HTTP."""

    name: str
    """The name of the call in traces and in the access log."""
    attributes: Mapping[str, str]
    code: str
    """The attribute for the status code of the call."""


def rpc(service: str, method: str) -> Kind:
    """Returns the kind of an RPC."""
    name = f"{service}/{method}"
    return Kind(name, {"rpc.system.name": "grpc", "rpc.method": name}, "rpc.response.status_code")


def http_request(method: str, route: str) -> Kind:
    """Returns the kind of an HTTP request."""
    attributes = {"http.request.method": method, "http.route": route}
    return Kind(f"{method} {route}", attributes, "http.response.status_code")


class Observer:
    """Observes the calls of this process.

    Args:
        access_log: whether to log a line for each call.
        tracer: makes spans; None: no tracing.
    """

    def __init__(self, access_log: bool, tracer: "Tracer | None") -> None:
        self._access_log = access_log
        self._tracer = tracer

    @property
    def records(self) -> bool:
        """Whether calls are logged or traced. Otherwise they only have ids."""
        return self._access_log or self._tracer is not None

    def begin(
        self, kind: Kind, headers: Mapping[str, str], client: str, attributes: Mapping[str, str]
    ) -> "Observation":
        """Begins to observe the call that the running task answers.

        Args:
            kind: the kind of the call.
            headers: the headers or metadata of the call, with names in lower case.
            client: the client's host and port.
            attributes: further attributes of the span.
        """
        given = headers.get(REQUEST_ID, "")
        request_id = given if _VISIBLE.fullmatch(given) else uuid.uuid4().hex
        structlog.contextvars.bind_contextvars(request_id=request_id)
        trace = None
        if self._tracer:
            trace = self._tracer.begin(kind.name, headers, {**kind.attributes, **attributes})
            structlog.contextvars.bind_contextvars(trace_id=trace.id)
        line: dict[str, object] | None = None
        if self._access_log:
            line = {"client": client}
            if _USER_AGENT.fullmatch(agent := headers.get("user-agent", "")):
                line["user_agent"] = agent
        observation = Observation(kind, request_id, line, trace)
        _current.set(observation)
        return observation


class Observation:
    """The observation of one call.

    Args:
        kind: the kind of the call.
        request_id: the id that the client sent, or a new one.
        line: fields for a line in the access log, to which the observed fields are added; None: no line.
        trace: the spans of the call; None: no tracing.
    """

    __slots__ = ("_kind", "_line", "_start", "_texts", "_times", "_trace", "request_id")

    def __init__(self, kind: Kind, request_id: str, line: dict[str, object] | None, trace: "Trace | None") -> None:
        self.request_id = request_id
        self._kind = kind
        self._line = line
        self._trace = trace
        self._start = perf_counter()
        self._texts = 0
        self._times: dict[str, float] = {}

    def asks(self, model: str, version: int, texts: int) -> None:
        """Records a request for a model. A stream has the model of its last request, and the sum of all texts."""
        self._texts += texts
        about: dict[str, str | int] = {"model": model, "version": version, "texts": self._texts}
        if self._line is not None:
            self._line |= about
        if self._trace:
            self._trace.set({f"text_classifier.{name}": value for name, value in about.items()})

    def ran(self, queued: float, start: float, end: float) -> None:
        """Records the wait for the engine and the engine's call, in seconds of `perf_counter`."""
        self.passed("queue", queued, start)
        self.passed("inference", start, end)

    def passed(self, phase: str, start: float, end: float) -> None:
        """Records a phase of a request, in seconds of `perf_counter`."""
        name = f"{phase}_seconds"
        self._times[name] = self._times.get(name, 0.0) + end - start
        if self._trace:
            self._trace.phase(phase, start, end)

    def end(self, code: str | int, *, fault: bool) -> None:
        """Records the end of the call.

        Args:
            code: the name of the gRPC status, or the HTTP status.
            fault: whether the status is a server error.
        """
        if self._line is not None:
            times = {"seconds": perf_counter() - self._start} | self._times
            rounded = {name: round(seconds, 6) for name, seconds in times.items()}
            _log.info("call", method=self._kind.name, code=code, **rounded, **self._line)
        if self._trace:
            self._trace.set({self._kind.code: code})
            self._trace.end(str(code) if fault else None)


_current: ContextVar[Observation | None] = ContextVar("observation", default=None)


def current() -> Observation | None:
    """Returns the observation of the call that the running task answers; None if the call is not observed."""
    return _current.get()
