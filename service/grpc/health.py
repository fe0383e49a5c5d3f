"""The gRPC health service. `Watch` calls end when the server stops."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME

from service.errors import NotFound, shortened

__all__ = ["SERVICE_NAME", "HealthServicer"]


class HealthServicer(health_pb2_grpc.HealthServicer):
    """Implements `grpc.health.v1.Health`: github.com/grpc/grpc/blob/master/doc/health-checking.md.

    Args:
        services: the names of services that have a status. All have the same status.
    """

    def __init__(self, services: tuple[str, ...]) -> None:
        self._services = services
        self._serving = False
        self._changed = asyncio.Event()
        self._stopping = False

    @property
    def serving(self) -> bool:
        """Whether the server serves."""
        return self._serving

    def set(self, serving: bool) -> None:
        """Sets the status and sends it to watchers. After `stop`, the status stays NOT_SERVING."""
        self._publish(serving and not self._stopping)

    def stop(self) -> None:
        """Sets NOT_SERVING for good, sends it to watchers, and ends their calls."""
        self._stopping = True
        self._publish(False)

    def _publish(self, serving: bool) -> None:
        self._serving = serving
        self._changed.set()
        self._changed = asyncio.Event()

    def _status(self, service: str) -> Any:  # the stubs' enum is no type
        if service not in self._services:
            return health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        return health_pb2.HealthCheckResponse.SERVING if self._serving else health_pb2.HealthCheckResponse.NOT_SERVING

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> health_pb2.HealthCheckResponse:
        """Returns the status of a service.

        Raises:
            NotFound: the server has no such service.
        """
        if request.service not in self._services:
            services = ", ".join(self._services[1:])
            raise NotFound(f"services/{shortened(request.service)}", f"the services are {services}", "service")
        return health_pb2.HealthCheckResponse(status=self._status(request.service))

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Yields the status of a service now and whenever it changes, until the server stops."""
        last = None
        while True:
            changed, status = self._changed, self._status(request.service)
            if status != last:
                yield health_pb2.HealthCheckResponse(status=status)
                last = status  # check again: it may have changed meanwhile
            elif self._stopping:
                return
            else:
                await changed.wait()
