"""Serves the HTTP routes in a worker, with uvicorn, on a port that all workers listen on."""

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.applications import Starlette

from service.config import Config
from service.errors import StartError
from service.security.tls import server_context, tls_files

_CONNECTIONS = 1000
"""That one worker has at a time; more are answered with 503."""


class _Server(uvicorn.Server):
    """Leaves the process's signals to who owns them."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def http_endpoint(config: Config, port: int, api: Starlette, stop: asyncio.Event) -> AsyncIterator[None]:
    """Serves around the block. From `stop` on it takes no new requests; the block's end waits for those in flight.

    Raises:
        StartError: the port cannot be listened on, or a file for TLS cannot be used.
    """
    files = tls_files(config)
    context = server_context("certificates of HTTP", files) if files else None
    server = _Server(
        uvicorn.Config(
            api,
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=math.ceil(config.grace_period),
            ssl_context_factory=(lambda *_: context) if context else None,
        )
    )
    try:
        family, *_, address = socket.getaddrinfo(config.host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address, family=family, reuse_port=True)
    except OSError as error:
        raise StartError(f"cannot listen on {config.host}:{port}: {error.strerror}") from error

    async def drain() -> None:
        await stop.wait()
        server.should_exit = True

    tasks = asyncio.create_task(server.serve([listener])), asyncio.create_task(drain())
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)
