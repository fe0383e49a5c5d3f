"""The health servicer: who may watch, what watchers hear, and when they are let go."""

import asyncio
from typing import Any, cast

import pytest
from grpc_health.v1 import health_pb2

from service.errors import NotFound
from service.grpc.health import HealthServicer

RESPONSE = health_pb2.HealthCheckResponse
ANY = cast("Any", None)


def request(service: str = "") -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=service)


def test_watchers_hear_each_change_and_end_with_the_stop() -> None:
    async def test() -> None:
        health = HealthServicer(("", "a"))
        known, unknown = health.Watch(request("a"), ANY), health.Watch(request("b"), ANY)
        assert [(await anext(each)).status for each in (known, unknown)] == [
            RESPONSE.NOT_SERVING,
            RESPONSE.SERVICE_UNKNOWN,
        ]
        assert health.serving is False
        health.set(True)
        assert health.serving is True
        assert (await anext(known)).status == RESPONSE.SERVING
        health.stop()
        assert health.serving is False
        assert [response.status async for response in known] == [RESPONSE.NOT_SERVING]
        assert [response.status async for response in unknown] == []
        health.set(True)
        assert (await health.Check(request("a"), ANY)).status == RESPONSE.NOT_SERVING
        with pytest.raises(NotFound, match=r"services/b not found: the services are a$") as unknown_service:
            await health.Check(request("b"), ANY)
        assert unknown_service.value.kind == "service"  # not a model

    asyncio.run(test())
