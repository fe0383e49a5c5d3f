"""Serves an HTTP application with uvicorn, and limits the connections and time that clients can take."""

import asyncio
import math
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.address import BACKLOG, address, listening_socket
from service.config import Config
from service.errors import StartError, TooManyRequests
from service.http.endpoint import error_response, is_probe
from service.security.tls import server_context, tls_files

MAX_CONNECTIONS = 500
"""Maximum number of connections per worker. Beyond that, a new one replaces the one that has kept the server waiting
longest."""
MAX_REQUESTS = 500
"""Maximum number of requests in flight per worker. Beyond that, only probes are answered."""
MAX_HEADER_BYTES = 64 * 1024
"""Maximum size of a request's line and headers."""
_PIECE_BYTES = 16 * 1024
MIN_CHUNK_BYTES, FREE_CHUNKS = 64, 1000
"""Minimum average size of a body's chunks, not counting the first thousand."""
HANDSHAKE_SECONDS = 10.0
"""Maximum time of a TLS handshake."""
HEADER_SECONDS = 10.0
"""Maximum time until a connection's next request has all its headers."""
IDLE_SECONDS = 75.0
"""Time after which a connection without a request is closed. Proxies keep idle connections for up to 60 s; a request
that one of them sends when this server closes the connection is lost."""
STALL_SECONDS = 30.0
"""Time after which a connection is closed if the client does not read its response."""

MAX_UNREAD_BYTES = 32 << 20
"""Maximum size, per worker, of the responses that wait for clients to read them. Beyond that, the connection that has
waited longest is closed, unless it is the only one."""


def max_connections() -> int:
    """Returns the maximum number of connections per worker: at most half of the open files, which gRPC needs too."""
    return min(MAX_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)


class _Parser(h11.Connection):
    """Parses the requests of a connection.

    It refuses headers that are too large, which h11 does only while they are incomplete. It refuses small chunks, since
    each costs the event loop about 10 us, and requests that give the end of their body in two ways, with which a client
    could hide a request from a proxy (RFC 9112, 6.3).
    """

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEADER_BYTES)
        self._chunks: float = FREE_CHUNKS

    def next_event(self) -> Any:
        """Returns the next event.

        Raises:
            h11.RemoteProtocolError: the client violates HTTP, its chunks are too small, or a body has two ends.
        """
        event = super().next_event()
        if isinstance(event, h11.Data):
            self._chunks += len(event.data) / MIN_CHUNK_BYTES - event.chunk_start
            if self._chunks < 0:
                raise self._refusal(f"chunks of fewer than {MIN_CHUNK_BYTES} bytes")
        elif isinstance(event, h11.Request):
            self._chunks = FREE_CHUNKS
            if _size(event) > MAX_HEADER_BYTES:
                raise self._refusal(f"a request's line and headers of more than {MAX_HEADER_BYTES} bytes")
            if {name for name, _ in event.headers} >= {b"content-length", b"transfer-encoding"}:
                raise self._refusal("both Content-Length and Transfer-Encoding")
        return event

    def _refusal(self, reason: str) -> h11.RemoteProtocolError:
        """Ends the parsing, and returns the error to raise."""
        self._process_error(self.their_role)
        return h11.RemoteProtocolError(reason)


def _size(request: h11.Request) -> int:
    """Returns the size of a request's line and headers in bytes."""
    separators = len(b"  HTTP/1.1\r\n\r\n") + len(b": \r\n") * len(request.headers)
    return separators + len(request.method) + len(request.target) + sum(len(n) + len(v) for n, v in request.headers)


class _Protocol(H11Protocol):
    """A connection with limits on the time that it waits for its client."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = _Parser()
        self._header_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._waiting_since = self._unread_since = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_headers()
        if len(self.connections) > max_connections():
            waiting = [each for each in self.connections if isinstance(each, _Protocol) and each.waits_for_client()]
            min(waiting, key=_waiting_since).transport.abort()  # at least the new connection is waiting

    def send_400_response(self, msg: str) -> None:
        """Refuses invalid HTTP; closes the connection if a response has begun."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.abort()

    def waits_for_client(self) -> bool:
        """Tells whether the server waits for the client to send a request or its rest, or to read a response."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def data_received(self, data: bytes) -> None:
        # Data is passed on in pieces, so that the parser refuses headers before it has read all that is there.
        for at in range(0, len(data), _PIECE_BYTES):
            if not self.transport.is_closing():
                super().data_received(data[at : at + _PIECE_BYTES])
        if self.cycle is not None and not self.cycle.response_complete:
            self._cancel(self._header_timer)
            self._header_timer = None
        elif self._header_timer is None:
            self._wait_for_headers()

    def on_response_complete(self) -> None:
        self._waiting_since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # A timer keeps the connection in memory. uvicorn leaves its own running if the client has reset the connection.
        for timer in (self._header_timer, self._stall_timer, self.timeout_keep_alive_task):
            self._cancel(timer)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_since = self.loop.time()
        self._wait_for_reader(self.transport.get_write_buffer_size())
        self._bound_unread()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._cancel(self._stall_timer)

    def _bound_unread(self) -> None:
        unread = [each for each in self.connections if isinstance(each, _Protocol) and each.flow.write_paused]
        unread.sort(key=_unread_since, reverse=True)
        total = sum(each.transport.get_write_buffer_size() for each in unread)
        while total > MAX_UNREAD_BYTES and len(unread) > 1:
            longest = unread.pop()
            total -= longest.transport.get_write_buffer_size()
            longest.transport.abort()

    def _wait_for_headers(self) -> None:
        self._waiting_since = self.loop.time()
        self._header_timer = self.loop.call_later(HEADER_SECONDS, self.transport.abort)

    def _wait_for_reader(self, unread: int) -> None:
        def check() -> None:
            left = self.transport.get_write_buffer_size()
            if left < unread:
                self._wait_for_reader(left)
            else:
                self.transport.abort()

        self._stall_timer = self.loop.call_later(STALL_SECONDS, check)

    @staticmethod
    def _cancel(timer: asyncio.TimerHandle | None) -> None:
        if timer:
            timer.cancel()


def _waiting_since(connection: _Protocol) -> float:
    return connection._waiting_since


def _unread_since(connection: _Protocol) -> float:
    return connection._unread_since


class _Server(uvicorn.Server):
    """A server that leaves signals to the process, and limits TLS handshakes and requests in flight."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures no signals."""
        yield

    async def startup(self, sockets: Any = None) -> None:
        """Starts listening."""
        await self.lifespan.startup()
        loop = asyncio.get_running_loop()
        context = self.config.ssl
        self.servers = [
            await loop.create_server(
                lambda: _Protocol(self.config, self.server_state, self.lifespan.state),
                sock=each,
                backlog=BACKLOG,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if context else None,
            )
            for each in sockets
        ]
        self.started = True


class _Admission:
    """Refuses requests, except probes, while too many are in flight."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._in_flight >= MAX_REQUESTS and not is_probe(scope["path"]):
            await error_response(scope["path"], TooManyRequests(MAX_REQUESTS))(scope, receive, send)
            return
        self._in_flight += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_flight -= 1


def _uvicorn_config(config: Config, app: ASGIApp) -> uvicorn.Config:
    files = tls_files(config)
    context = server_context("certificates of HTTP", files) if files else None
    return uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        log_level="error",  # with warnings about requests, a client could fill the log
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_keep_alive=IDLE_SECONDS,  # type: ignore[arg-type]
        timeout_graceful_shutdown=math.ceil(config.grace_period),
        ssl_context_factory=(lambda *_: context) if context else None,
    )


@asynccontextmanager
async def http_server(config: Config, port: int | None, app: ASGIApp, stop: asyncio.Event) -> AsyncIterator[None]:
    """Serves the application during the block. It drains when `stop` is set; the end of the block waits for that.

    Args:
        config: the server's configuration.
        port: the port, which other workers listen on too; None: serves nothing.
        app: the application.
        stop: when to stop.

    Raises:
        StartError: the server cannot listen on the port, or a file for TLS cannot be used.
    """
    if port is None:
        yield
        return
    server = _Server(_uvicorn_config(config, _Admission(app)))
    try:
        listener = listening_socket(config.host, port, shared=True)
    except OSError as error:
        raise StartError(f"cannot listen on {address(config.host, port)}: {error.strerror}") from error

    async def drain() -> None:
        await stop.wait()
        server.should_exit = True

    tasks = asyncio.create_task(server.serve([listener])), asyncio.create_task(drain())
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)
