"""A collector of spans: OpenTelemetry's own service, over gRPC or HTTP, which keeps what it is sent."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector(pb2_grpc.TraceServiceServicer):
    """Keeps spans, and waits for them."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.resources: list[dict[str, Any]] = []
        self._spans: list[Span] = []
        self._changed = threading.Condition()

    def Export(self, request: pb2.ExportTraceServiceRequest, context: object) -> pb2.ExportTraceServiceResponse:  # noqa: N802
        """Takes spans."""
        with self._changed:
            for each in request.resource_spans:
                self.resources.append(attributes(each.resource.attributes))
                self._spans += (span for scope in each.scope_spans for span in scope.spans)
            self._changed.notify_all()
        return pb2.ExportTraceServiceResponse()

    def trace(self, trace_id: str, spans: int) -> dict[str, Span]:
        """Waits until a trace has so many spans; returns them by their names."""

        def find() -> list[Span]:
            return [span for span in self._spans if span.trace_id.hex() == trace_id]

        with self._changed:
            assert self._changed.wait_for(lambda: len(find()) >= spans, timeout=60), find()
            found = find()
        assert len(found) == spans
        return {span.name: span for span in found}

    def trace_ids(self) -> set[str]:
        """Returns the traces of which spans have come."""
        return {span.trace_id.hex() for span in self._spans}


def attributes(pairs: Any) -> dict[str, Any]:
    """Returns attributes by their names."""

    def value(pair: KeyValue) -> Any:
        return getattr(pair.value, str(pair.value.WhichOneof("value")))

    return {pair.key: value(pair) for pair in pairs}


@contextmanager
def grpc_collector() -> Iterator[Collector]:
    """Runs a collector over gRPC around the block."""
    collector = Collector()
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
        collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        yield collector
        server.stop(None).wait()


@contextmanager
def http_collector() -> Iterator[Collector]:
    """Runs a collector over HTTP around the block."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                collector.Export(pb2.ExportTraceServiceRequest.FromString(body), None)
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield collector
        server.shutdown()
        thread.join()
