"""OpenTelemetry: spans of calls, exported as the standard environment variables say.

This module needs the extra `otel`. It is imported only if tracing is on.

The variables: opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables and .../protocol/exporter.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from importlib.metadata import version as installed_version

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from service.errors import StartError

_PACKAGE = "text-classifier"
_UNNAMED = "unknown_service"
"""Prefix of OpenTelemetry's default service name."""

LAST_EXPORT_SECONDS = 3.0
"""Maximum time that the process waits at its end for the export of the last spans."""


@contextmanager
def tracing() -> Iterator["Tracer"]:
    """Exports spans during the block, and the remaining spans at its end.

    Raises:
        StartError: an exporter cannot start.
    """
    resource = Resource.create({SERVICE_VERSION: installed_version(_PACKAGE)})
    if str(resource.attributes[SERVICE_NAME]).startswith(_UNNAMED):
        resource = resource.merge(Resource({SERVICE_NAME: _PACKAGE}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for name, kind in exporter_kinds():
        try:
            exporter = kind()
        except Exception as error:  # exporters raise all kinds of errors for wrong variables
            raise StartError(f"OpenTelemetry's exporter {name!r} cannot start: {error}") from error
        provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield Tracer(provider.get_tracer("text_classifier"))
    finally:
        # A collector that does not answer must not delay the end of the process, with which the thread dies.
        last = threading.Thread(target=provider.shutdown, daemon=True)
        last.start()
        last.join(LAST_EXPORT_SECONDS)


def exporter_kinds() -> list[tuple[str, Callable[[], SpanExporter]]]:
    """Returns the exporters that the OTEL_ variables name, each with its name.

    Raises:
        StartError: a variable has a wrong value, or names an exporter that is not available.
    """
    protocol = _variable("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or _variable("OTEL_EXPORTER_OTLP_PROTOCOL") or "grpc"
    otlp = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}.get(protocol)
    if not otlp:
        raise StartError(f"OTEL_EXPORTER_OTLP_PROTOCOL: {protocol!r} is not one of grpc, http/protobuf")
    names = map(str.strip, (_variable("OTEL_TRACES_EXPORTER") or "otlp").split(","))
    return [(name, _exporter_kind(name, otlp if name == "otlp" else name)) for name in names if name != "none"]


def _exporter_kind(name: str, entry_point: str) -> Callable[[], SpanExporter]:
    found = entry_points(group="opentelemetry_traces_exporter", name=entry_point)
    if not found:
        raise StartError(f"OTEL_TRACES_EXPORTER: no installed package has an exporter {name!r}")
    try:
        kind: Callable[[], SpanExporter] = next(iter(found)).load()
    except Exception as error:  # the import of a third-party package may raise anything
        raise StartError(f"OpenTelemetry's exporter {name!r} cannot start: {error}") from error
    return kind


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip()


class Tracer:
    """Makes the spans of calls.

    Args:
        tracer: the tracer of OpenTelemetry.
    """

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def begin(self, name: str, headers: Mapping[str, str], attributes: Mapping[str, str]) -> "Trace":
        """Begins the span of a call. If its headers name a trace, the span belongs to it."""
        context = propagate.extract(headers)
        span = self._tracer.start_span(name, context, trace.SpanKind.SERVER, attributes)
        return Trace(self._tracer, span, trace.set_span_in_context(span, context))


class Trace:
    """The spans of one call: one for the call, and one for each phase.

    Args:
        tracer: the tracer of OpenTelemetry.
        span: the call's span, already started.
        context: the parent context for the spans of phases.
    """

    __slots__ = ("_context", "_epoch", "_span", "_tracer")

    def __init__(self, tracer: trace.Tracer, span: trace.Span, context: Context) -> None:
        self._tracer = tracer
        self._span = span
        self._context = context
        self._epoch = time.time_ns() - time.perf_counter_ns()

    @property
    def id(self) -> str:
        """The trace's identifier, 32 hexadecimal digits."""
        return trace.format_trace_id(self._span.get_span_context().trace_id)

    def set(self, attributes: Mapping[str, str | int]) -> None:
        """Sets attributes of the call's span."""
        self._span.set_attributes(attributes)

    def phase(self, name: str, start: float, end: float) -> None:
        """Adds the span of a phase that has ended, in seconds of `perf_counter`."""
        if self._span.is_recording():
            span = self._tracer.start_span(name, self._context, start_time=self._nanoseconds(start))
            span.end(self._nanoseconds(end))

    def _nanoseconds(self, seconds: float) -> int:
        """Converts seconds of `perf_counter` to nanoseconds since the epoch."""
        return self._epoch + round(seconds * 1e9)

    def end(self, fault: str | None) -> None:
        """Ends the call's span.

        Args:
            fault: the error type, if the status is a server error.
        """
        if fault:
            self._span.set_attribute("error.type", fault)
            self._span.set_status(trace.StatusCode.ERROR)
        self._span.end()
