"""What is told of single calls, if the server is to tell it: a line in the access log, and the spans of a trace.

Metrics sum up; this finds the one call that somebody asks about. Unless it is wanted no call is observed, and a request
costs one look at a context variable more.
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
"""The header, or key of gRPC metadata, with which proxies and clients name a request; the answer has it too."""

_VISIBLE = re.compile(r"[!-~]{1,128}")
_USER_AGENT = re.compile(r"[ -~]{1,128}")


class Kind(NamedTuple):
    """What kind of call it is. Attributes are named by OpenTelemetry's semantic conventions for gRPC and for HTTP."""

    name: str
    """As a trace and the access log name it."""
    attributes: Mapping[str, str]
    code: str
    """The attribute that tells how it ended."""


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
        access_log: whether each call has a line in the log.
        tracer: what makes the spans of calls, if they have any.
    """

    def __init__(self, access_log: bool, tracer: "Tracer | None") -> None:
        self._access_log = access_log
        self._tracer = tracer

    def begin(
        self, kind: Kind, headers: Mapping[str, str], client: str, attributes: Mapping[str, str]
    ) -> "Observation":
        """Begins to observe the call that the running task answers.

        Args:
            kind: what kind of call it is.
            headers: its headers or metadata, names in small letters.
            client: host and port that it comes from.
            attributes: further ones that its kind of span has.
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
    """One call under way.

    Args:
        kind: what kind of call it is.
        request_id: the client's own, or a new one.
        line: what the access log is to say beside what is observed; None: nothing at all.
        trace: where its spans go, if it has any.
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
        """A request for this model has been read. Of a stream the last request's model is told, and all its texts."""
        self._texts += texts
        about: dict[str, str | int] = {"model": model, "version": version, "texts": self._texts}
        if self._line is not None:
            self._line |= about
        if self._trace:
            self._trace.set({f"text_classifier.{name}": value for name, value in about.items()})

    def ran(self, queued: float, start: float, end: float) -> None:
        """A request has waited for the engine and had its call, in seconds of `perf_counter`."""
        self.passed("queue", queued, start)
        self.passed("inference", start, end)

    def passed(self, phase: str, start: float, end: float) -> None:
        """A request has passed a phase of its way, from start to end in seconds of `perf_counter`."""
        name = f"{phase}_seconds"
        self._times[name] = self._times.get(name, 0.0) + end - start
        if self._trace:
            self._trace.phase(phase, start, end)

    def end(self, code: str | int, *, fault: bool) -> None:
        """The call has been answered.

        Args:
            code: the name of its gRPC status, or its HTTP status.
            fault: whether the server is to blame.
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
    """Returns the observation of the call that the running task answers, if it is observed."""
    return _current.get()
