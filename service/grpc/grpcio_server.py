"""grpcio's asyncio server, replaced when a request has ended it.

grpcio 1.85 decodes a request's path outside of the call. A path that is not UTF-8 ends the whole server, with all calls
in flight, while the process lives on and its port is closed. It also logs an error with a trace for each client that
disconnects before it has read its response, which is no fault of the server.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from operator import methodcaller
from typing import Any
from weakref import WeakSet

import grpc.aio
import structlog

_log = structlog.get_logger()
_RETRY_SECONDS = 1.0
"""Time until the next attempt if a port cannot be listened on again."""
_GRACE_SECONDS = 1.0
"""Time that the calls of a failed server may take. It has also taken calls that it does not answer: these end then."""
_servers: WeakSet["GrpcioServer"] = WeakSet()


class GrpcioServer:
    """The part of `grpc.aio.Server` that this project uses. It serves on after a request on which grpcio fails.

    Args:
        options: channel arguments, as `grpc.aio.server` takes them.
    """

    def __init__(self, options: Sequence[tuple[str, int]]) -> None:
        self._options = options
        self._steps: list[Callable[[grpc.aio.Server], Any]] = []
        """What prepares a server before its start, in order."""
        self._server = grpc.aio.server(options=options)
        self._replacing: asyncio.Task[None] | None = None
        self._ended = False
        self._failed: set[asyncio.Task[None]] = set()
        """The ends of failed servers. The event loop alone does not keep a task."""
        _servers.add(self)
        for name in ("asyncio", "grpc._cython.cygrpc"):
            logging.getLogger(name).addFilter(_notice)

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Registers handlers in generic form."""
        self._prepare(methodcaller("add_generic_rpc_handlers", handlers))

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Registers the handlers of a service."""
        self._prepare(methodcaller("add_registered_method_handlers", service, handlers))

    def add_insecure_port(self, address: str) -> int:
        """Listens without encryption. Returns the port.

        Raises:
            RuntimeError: the address cannot be listened on.
        """
        return int(self._prepare(methodcaller("add_insecure_port", address)))

    def add_secure_port(self, address: str, credentials: grpc.ServerCredentials) -> int:
        """Listens with TLS. Returns the port.

        Raises:
            RuntimeError: the address cannot be listened on.
        """
        return int(self._prepare(methodcaller("add_secure_port", address, credentials)))

    def _prepare(self, step: Callable[[grpc.aio.Server], Any]) -> Any:
        self._steps.append(step)
        return step(self._server)

    async def start(self) -> None:
        """Starts the server."""
        await self._server.start()

    async def stop(self, grace: float | None) -> None:
        """Stops the server: see `grpc.aio.Server.stop`."""
        self._ended = True
        await self._server.stop(grace)

    def replace_if_failed(self) -> None:
        """Begins to replace the server, if a request has ended it."""
        if not self._replacing or self._replacing.done():
            self._replacing = asyncio.create_task(self._replace_while_failed())

    async def _replace_while_failed(self) -> None:
        while await self._has_failed():
            await self._replace()

    async def _has_failed(self) -> bool:
        try:
            await self._server.wait_for_termination(0)
        except UnicodeDecodeError:
            return not self._ended
        return False

    async def _replace(self) -> None:
        reason = "the path of a request is not UTF-8, which ends grpcio's server: use --transport native"
        _log.warning("gRPC server restarted", reason=reason)
        while not self._ended:
            server = grpc.aio.server(options=self._options)
            try:
                for step in self._steps:
                    step(server)
            except RuntimeError as error:
                _log.exception("cannot listen again", reason=str(error), retry_seconds=_RETRY_SECONDS)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                await server.start()
                # grpcio's own shutdown of the failed server stops before it cancels calls.
                end = asyncio.create_task(self._server.stop(_GRACE_SECONDS))
                self._failed.add(end)
                end.add_done_callback(self._failed.discard)
                self._server = server
                return


def _notice(record: logging.LogRecord) -> bool:
    """Tells whether to log a line of grpcio or asyncio, and has the server replaced whose failure it reports.

    Lines that repeat a path that is not UTF-8 are not logged, nor those about clients that have gone.
    """
    raised = {type(error).__name__ for error in (record.msg, *(record.exc_info or ()))}  # grpcio's own are not public
    if record.name != "asyncio" and "UnicodeDecodeError" in raised:
        for server in tuple(_servers):
            # One turn of the event loop later than grpcio's own shutdown, which closes the port.
            asyncio.get_running_loop().call_soon(server.replace_if_failed)
    return raised.isdisjoint({"UnicodeDecodeError", "ExecuteBatchError"})
