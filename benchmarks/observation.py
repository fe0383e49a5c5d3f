"""Measures the cost of the access log and of tracing: this project's server with each of them, and without."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc

from benchmarks.server import Server, serving

_COLLECTOR = "opentelemetry.proto.collector.trace.v1.TraceService"


@contextmanager
def servers(models: Path) -> Iterator[dict[str, Server]]:
    """Runs servers with and without access log and tracing during the block."""
    with ExitStack() as stack:
        to_collector = {"OTEL_EXPORTER_OTLP_ENDPOINT": stack.enter_context(_collector())}
        unrecorded = {**to_collector, "OTEL_TRACES_SAMPLER": "always_off"}
        yield {
            "neither": stack.enter_context(serving(models)),
            "access log": stack.enter_context(serving(models, "--access-log", "on")),
            "tracing": stack.enter_context(serving(models, "--tracing", "on", environment=to_collector)),
            "tracing, unrecorded": stack.enter_context(serving(models, "--tracing", "on", environment=unrecorded)),
        }


@contextmanager
def _collector() -> Iterator[str]:
    """Runs a collector that discards spans. Yields its address."""
    handler: Any = grpc.unary_unary_rpc_method_handler(lambda spans, context: b"")
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_COLLECTOR, {"Export": handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"http://127.0.0.1:{port}"
        server.stop(None).wait()
