"""What every call goes through, on a server in this process."""

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2_grpc

from service.grpc import instrumentation
from service.grpc.decoding import DecodingLimits
from service.grpc.health import HealthServicer
from service.grpc.instrumentation import InstrumentedServer, Instruments
from service.telemetry.shared_metrics import PAGE_BYTES, MetricsPage


def test_a_message_that_does_not_come_in_time_ends_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instrumentation, "MESSAGE_SECONDS", 0.01)

    async def test() -> tuple[grpc.StatusCode, str]:
        server = grpc.aio.server()
        instrumented = InstrumentedServer(
            server, Instruments(MetricsPage(bytearray(PAGE_BYTES))), DecodingLimits(1000, 1, 1000), probes=()
        )
        instrumented.register(health_pb2_grpc.add_HealthServicer_to_server, HealthServicer(("",)))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            method: Any = channel.stream_unary("/grpc.health.v1.Health/Check")
            call = method(timeout=60)
            end = await call.code(), await call.details()
        await server.stop(None)
        return end

    late = "the request did not arrive within 0.01 s"
    assert asyncio.run(test()) == (grpc.StatusCode.DEADLINE_EXCEEDED, late)
