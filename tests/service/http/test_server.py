"""What a client may hold of the HTTP server: connections, time, memory. Some bounds are lowered, to wait less."""

import asyncio
import gc
import gzip
import json
import resource
import socket
import struct
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import prometheus_client
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.testing import capture_logs

from service.address import BACKLOG, listening_socket
from service.config import Config
from service.errors import RequestTimeout, TooManyBytes
from service.http import body, server
from service.http.server import http_server
from service.telemetry import metrics_server
from service.telemetry.metrics_server import metrics_endpoint
from tests.addresses import OWN_HOST, free_port
from tests.process_memory import growth
from tests.server_process import ServerProcess, serving
from tests.service.http.test_routes import call

PROBE = "/v2/health/live"
MIB = 1 << 20


@asynccontextmanager
async def running(app: ASGIApp) -> AsyncIterator[int]:
    """Runs an application. Yields the port."""
    port, config = free_port(), Config(host=OWN_HOST, grace_period=1)
    async with asyncio.timeout(60), http_server(config, port, app, asyncio.Event()):
        yield port


async def ask(port: int, path: str = "/") -> bytes:
    """Makes a request on a connection of its own, and returns the status line."""
    reader, writer = await asyncio.open_connection(OWN_HOST, port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n")[0]


async def ended(reader: asyncio.StreamReader) -> None:
    """Waits for the server to end a connection without a word."""
    with suppress(ConnectionResetError):
        assert await reader.read() == b""


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def much(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": bytes(64 * MIB)})


async def ask_without_reading(port: int) -> asyncio.StreamWriter:
    """Makes a request, and takes nothing of its response."""
    _, writer = await asyncio.open_connection(OWN_HOST, port, limit=1)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return writer


def test_headers_beyond_the_limit_are_refused_although_they_come_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What waits on a Unix socket is read as a whole, up to 256 KiB.
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    listener.listen()
    monkeypatch.setattr(server, "listening_socket", lambda *_, **__: listener)

    async def test() -> None:
        async with asyncio.timeout(60), http_server(Config(), 1, hello, asyncio.Event()):
            rest = len(b"GET / HTTP/1.1\r\nHost: localhost\r\na: \r\n\r\n")
            most = server.MAX_HEADER_BYTES - rest
            for size, status in ((most, b"200 OK"), (most + 1, b"400 Bad Request"), (90_000, b"400 Bad Request")):
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(str(tmp_path / "socket"))
                    client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\na: %b\r\n\r\n" % (b"x" * size))
                    client.setblocking(False)
                    answer = await asyncio.get_running_loop().sock_recv(client, 4096)
                assert answer.startswith(b"HTTP/1.1 " + status)

    asyncio.run(test())


def test_a_client_that_does_not_read_metrics_writes_no_line_of_the_log(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def large(environment: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [bytes(64 * MIB)]

    ended = threading.Event()
    end = metrics_server._Server.shutdown_request

    def end_and_tell(server: Any, request: Any) -> None:
        end(server, request)
        ended.set()

    monkeypatch.setattr(metrics_server._Server, "shutdown_request", end_and_tell)
    monkeypatch.setattr(metrics_server._Handler, "timeout", 0.05)
    monkeypatch.setattr(prometheus_client, "make_wsgi_app", lambda registry: large)
    with (
        capture_logs() as logs,
        metrics_endpoint(Config(metrics_port=0), None, [], []),
        socket.create_connection(("127.0.0.1", logs[0]["port"]), timeout=60) as client,
    ):
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert ended.wait(60)
    assert capfd.readouterr().err == ""


def test_http_takes_at_most_half_of_the_open_files() -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (800, limit[1]))
    try:
        assert server.max_connections() == 400
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert server.max_connections() <= server.MAX_CONNECTIONS


def test_silent_connections_beyond_the_maximum_give_way_to_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 5)
    monkeypatch.setattr(server, "HEADER_SECONDS", 1e6)  # else the silence would end them too

    async def test() -> None:
        async with running(hello) as port:
            silent = [await asyncio.open_connection(OWN_HOST, port) for _ in range(5)]
            drips = [writer for _, writer in silent[3:]]
            for writer in drips:
                writer.write(b"GET / HTTP/1.1\r\nHost: local")
            for _ in range(4):
                assert await ask(port) == b"HTTP/1.1 200 OK"
            await ended(silent[0][0])

    asyncio.run(test())


def test_a_slow_body_gives_way_to_a_new_connection_and_a_slow_answer_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            begun.set()
            await go_on.wait()
        while scope["method"] == "POST" and (await receive()).get("more_body"):
            pass
        await hello(scope, receive, send)

    async def test() -> None:
        async with running(slow) as port:
            answered = asyncio.create_task(ask(port, "/slow"))
            await begun.wait()
            reader, writer = await asyncio.open_connection(OWN_HOST, port)
            writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
            for _ in range(3):
                assert await ask(port) == b"HTTP/1.1 200 OK"
            await ended(reader)
            go_on.set()
            assert await answered == b"HTTP/1.1 200 OK"

    asyncio.run(test())


@pytest.mark.parametrize("sent", [b"", b"G", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_headers_that_do_not_come_in_time_end_the_connection(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.1)

    async def test() -> None:
        async with running(hello) as port:
            reader, writer = await asyncio.open_connection(OWN_HOST, port)
            writer.write(sent)
            end = asyncio.create_task(ended(reader))
            while not end.done():  # a byte from time to time gains no time
                await asyncio.wait([end], timeout=0.01)
                writer.write(sent[:1])

    asyncio.run(test())


def test_as_many_connections_as_intended_may_wait_to_be_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    most, listeners = int(Path("/proc/sys/net/core/somaxconn").read_text()), []

    def note(host: str, port: int, *, shared: bool) -> socket.socket:
        listeners.append(listening_socket(host, port, shared=shared))
        return listeners[0]

    monkeypatch.setattr(server, "listening_socket", note)

    async def test() -> None:
        async with running(hello) as port:
            await ask(port)
            state = listeners[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
            assert int.from_bytes(state[28:], sys.byteorder) == min(BACKLOG, most)

    asyncio.run(test())


def test_an_idle_connection_is_closed_later_than_proxies_reuse_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert server.IDLE_SECONDS > 60  # as nginx, HAProxy and load balancers of clouds do
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.05)

    async def test() -> None:
        async with running(hello) as port:
            reader, writer = await asyncio.open_connection(OWN_HOST, port)
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await reader.read()).endswith(b"hello")  # up to its end
            writer.close()

    asyncio.run(test())


def test_a_connection_that_its_client_resets_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[weakref.ref[Any]] = []
    reset = asyncio.Event()
    connection_lost = server._Protocol.connection_lost

    def note(connection: Any, error: Exception | None) -> None:
        connection_lost(connection, error)
        assert error
        lost.append(weakref.ref(connection))
        reset.set()

    monkeypatch.setattr(server._Protocol, "connection_lost", note)

    async def test() -> None:
        async with running(hello) as port:
            reader, writer = await asyncio.open_connection(OWN_HOST, port)
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.readuntil(b"hello")
            linger = struct.pack("ii", 1, 0)  # to close is to reset
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.close()
            await reset.wait()
            gc.collect()
            assert lost[0]() is None

    asyncio.run(test())


def test_a_client_that_does_not_read_its_response_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STALL_SECONDS", 0.05)
    lost = asyncio.Event()

    class Protocol(server._Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.set()

    monkeypatch.setattr(server, "_Protocol", Protocol)

    async def test() -> None:
        async with running(much) as port:
            _writer = await ask_without_reading(port)
            await lost.wait()

    asyncio.run(test())


def test_of_responses_that_nobody_reads_the_oldest_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_UNREAD_BYTES", 40 * MIB)
    answered, lost = asyncio.Event(), asyncio.Event()
    made: list[server._Protocol] = []

    class Protocol(server._Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            made.append(self)

        def pause_writing(self) -> None:
            super().pause_writing()
            answered.set()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.set()

    monkeypatch.setattr(server, "_Protocol", Protocol)

    async def test() -> None:
        async with running(much) as port:
            for first in (True, False):
                answered.clear()
                _writer = await ask_without_reading(port)
                await answered.wait()
                assert lost.is_set() <= (not first)  # the only one stays, however large
            await lost.wait()
            assert [each.transport.is_closing() for each in made] == [True, False]
            made[1].transport.abort()

    asyncio.run(test())


def test_probes_are_answered_while_as_many_requests_as_allowed_are_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_REQUESTS", 1)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            begun.set()
            await go_on.wait()
        await hello(scope, receive, send)

    async def test() -> None:
        async with running(slow) as port:
            first = asyncio.create_task(ask(port, "/slow"))
            await begun.wait()
            assert await ask(port) == b"HTTP/1.1 503 Service Unavailable"
            assert await ask(port, PROBE) == b"HTTP/1.1 200 OK"
            go_on.set()
            assert await first == b"HTTP/1.1 200 OK"

    asyncio.run(test())


class Request:
    """A request whose body has so many bytes, in parts."""

    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, size: int) -> None:
        self._size = size

    async def stream(self) -> AsyncIterator[bytes]:
        for at in range(0, self._size, 4096):
            yield bytes(min(4096, self._size - at))


def test_a_body_that_does_not_come_in_time_is_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "BODY_SECONDS", 0.05)
    never = asyncio.Event()

    class Unfinished(Request):
        async def stream(self) -> AsyncIterator[bytes]:
            yield b"{"
            await never.wait()

    async def test() -> None:
        bodies = body.Bodies(1000)
        with bodies.charge() as charge:
            await bodies.read(cast("Any", Unfinished(1)), charge)

    with pytest.raises(RequestTimeout):
        asyncio.run(test())


def test_large_bodies_share_a_bound_and_small_ones_are_taken_beyond_it() -> None:
    async def test() -> None:
        bodies = body.Bodies(MIB)

        async def read(size: int) -> int:
            with bodies.charge() as charge:
                return len(await bodies.read(cast("Any", Request(size)), charge))

        with bodies.charge() as first, bodies.charge() as second:
            for charge in (first, second):
                await bodies.read(cast("Any", Request(MIB)), charge)
            with pytest.raises(TooManyBytes, match="large requests hold 2097152 bytes already"):
                await read(body.SMALL_BYTES + 1)
            assert await read(body.SMALL_BYTES) == body.SMALL_BYTES
        assert await read(MIB) == MIB

    asyncio.run(test())


@pytest.fixture(scope="module")
def worker(tiny_models: Path) -> Iterator[ServerProcess]:
    """A server of one worker."""
    with serving(tiny_models, "--workers", "1") as running_server:
        yield running_server


@pytest.fixture
def post(worker: ServerProcess) -> Callable[..., Any]:
    def send(path: str, data: bytes, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return call(f"http://{worker.http}{path}", data, named)

    return send


CLASSIFY, INFER = "/v1/models/topic:classify", "/v2/models/topic/infer"


def test_a_gzip_body_is_decoded_within_the_limits_and_other_encodings_are_415(post: Callable[..., Any]) -> None:
    request = json.dumps({"texts": ["oil"] * 100}).encode()
    assert post(CLASSIFY, gzip.compress(request), Content_Encoding="gzip").status == 200
    assert post(CLASSIFY, request, Content_Encoding="identity").status == 200
    assert post(CLASSIFY, gzip.compress(bytes(32 * MIB)), Content_Encoding="gzip").status == 413
    assert post(CLASSIFY, b"no gzip", Content_Encoding="gzip").status == 400
    refused = post(CLASSIFY, request, Content_Encoding="br")
    assert (refused.status, refused.body["error"]["status"]) == (415, "UNIMPLEMENTED")


def filled(template: str, element: str) -> bytes:
    """JSON of nearly 16 MiB, most of it one element over and over."""
    return template.replace("*", ",".join([element] * (15 * MIB // (len(element) + 1)))).encode()


TENSOR = '{"name":"text","datatype":"BYTES","shape":[1],"data":["oil"]}'


@pytest.mark.parametrize(
    ("path", "data"),
    [
        (CLASSIFY, filled('{"texts":[*]}', '""')),
        (CLASSIFY, filled('{"texts":[*]}', r'"\\"')),
        (CLASSIFY, filled('{"texts":["oil"],*}', '"top_k":1')),
        (INFER, filled('{"inputs":[*]}', TENSOR)),
        (INFER, filled('{"inputs":[' + TENSOR[:-1] + ',"data":[*]}]}', '""')),
        (INFER, filled('{"inputs":[' + TENSOR[:-1] + ',"data":[*]}]}', "[]")),
        (INFER, filled('{"inputs":[' + TENSOR[:-1] + ',"shape":[*]}]}', "1")),
        (INFER, filled('{"inputs":[' + TENSOR + '],"outputs":[*]}', '{"name":"label"}')),
        (INFER, filled('{"inputs":[' + TENSOR + '],"outputs":[{"name":"label","parameters":{"a":[*]}}]}', "[]")),
    ],
    ids=["texts", "backslashes", "keys", "inputs", "data", "nested data", "shape", "outputs", "parameters"],
)
def test_json_of_millions_of_elements_is_refused_before_it_takes_memory(
    worker: ServerProcess, post: Callable[..., Any], path: str, data: bytes
) -> None:
    with growth(worker) as measured:
        assert post(path, data).status == 400
    assert measured.peak < 60


def test_json_of_unknown_elements_takes_no_memory(worker: ServerProcess, post: Callable[..., Any]) -> None:
    for place, status in (('"parameters":{"a":[*]},', 400), ('"unknown":[*],', 200)):
        data = filled("{" + place + '"inputs":[' + TENSOR + "]}", "[]")
        with growth(worker) as measured:
            assert post(INFER, data).status == status
        assert measured.peak < 60


def test_texts_full_of_quotes_and_brackets_are_no_elements(post: Callable[..., Any]) -> None:
    text = 'say "[]", \\"{}\\", ' * 30
    request = json.dumps({"texts": [text] * 1024}).encode()
    assert len(request) > 512 * 1024
    assert post(CLASSIFY, request).status == 200


def test_bodies_of_many_clients_at_once_take_bounded_memory(worker: ServerProcess, post: Callable[..., Any]) -> None:
    data = b'{"texts": ["' + b"x" * (15 * MIB) + b'"]}'
    with growth(worker) as measured, ThreadPoolExecutor(16) as pool:
        statuses = set(pool.map(lambda _: post(CLASSIFY, data).status, range(32)))
    assert 400 in statuses
    assert statuses <= {400, 429}
    assert measured.peak < 100


def test_a_foreign_host_is_refused_unless_it_asks_for_health(worker: ServerProcess, tiny_models: Path) -> None:
    def status(url: str, host: str) -> int:
        answer = call(url, headers={"Host": host})
        assert "Location" not in answer.headers
        return answer.status

    url = f"http://{worker.http}"
    for path in ("/", "/v1/models", "/v2", "/v1/models/", "/openapi.json"):
        assert status(url + path, "rebound.example") == 421
        assert status(url + path, "localhost:8080") in {200, 404}
    assert status(f"{url}/v2/health/ready", "10.1.2.3:8080") == 200
    with serving(tiny_models, "--workers", "1", "--allowed-hosts", "api.example,[::1]") as server_of_names:
        url = f"http://{server_of_names.http}/v1/models"
        for host, expected in (
            ("API.example:80", 200),
            ("[::1]:8080", 200),
            ("localhost", 421),
            ("x.api.example", 421),
        ):
            assert status(url, host) == expected
    with serving(tiny_models, "--workers", "1", "--allowed-hosts", "*") as server_of_all:
        assert status(f"http://{server_of_all.http}/v1/models", "any.example") == 200


def test_silent_connections_do_not_close_the_metrics_port(worker: ServerProcess) -> None:
    port = worker.event("metrics")["port"]
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(metrics_server.MAX_CONNECTIONS + 5)]
    assert "grpc_server_started_total" in worker.metrics()
    silent[0].setblocking(False)  # it gave way before the metrics came, and not after its timeout
    assert silent[0].recv(1) == b""
    for each in silent:
        each.close()


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.1\r\nHost: local"])
def test_a_connection_to_the_metrics_port_that_falls_silent_is_closed(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_server._Handler, "timeout", 0.1)
    with (
        capture_logs() as log,
        metrics_endpoint(Config(metrics_port=0), None, (), ()),
        socket.create_connection(("127.0.0.1", log[0]["port"]), timeout=60) as connection,
    ):
        connection.sendall(sent)
        assert connection.recv(1) == b""


def test_what_is_no_http_writes_no_line_of_the_log(worker: ServerProcess) -> None:
    lines = len(worker.log)
    upgrade = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\r\n"
    host, port = worker.http.split(":")
    for target in ((host, int(port)), ("127.0.0.1", worker.event("metrics")["port"])):
        for sent in (b"\x16\x03\x01\n{}\n", b"GET\r\n\r\n", upgrade):
            with socket.create_connection(target, timeout=60) as connection:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass
    worker.metrics()
    assert len(worker.log) == lines


CHUNKED = b"POST %b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_a_malformed_chunk_after_the_answer_writes_no_line_of_the_log(worker: ServerProcess) -> None:
    lines = len(worker.log)
    host, port = worker.http.split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(CHUNKED % b"/nowhere")
        assert connection.recv(4096).startswith(b"HTTP/1.1 404 ")
        with suppress(OSError):
            connection.sendall(b"no size\r\n")
            while connection.recv(4096):
                pass
    assert call(f"http://{worker.http}{PROBE}").status == 200
    assert len(worker.log) == lines


def test_a_body_in_chunks_of_a_byte_is_refused_and_in_larger_ones_answered(worker: ServerProcess) -> None:
    text = json.dumps({"texts": ["oil " * 100] * 100}).encode()

    def post(size: int) -> bytes:
        parts = [text[at : at + size] for at in range(0, len(text), size)]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            with suppress(OSError):
                connection.sendall(CHUNKED % CLASSIFY.encode() + chunks + b"0\r\n\r\n")
            return connection.recv(12)

    host, port = worker.http.split(":")
    assert post(1) == b"HTTP/1.1 400"
    assert post(server.MIN_CHUNK_BYTES) == b"HTTP/1.1 200"


def test_a_body_with_two_ends_is_refused_and_what_it_hides_is_not_answered(worker: ServerProcess) -> None:
    hidden = b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n"
    body = b"2\r\n{}\r\n0\r\n\r\n" + hidden
    host, port = worker.http.split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection, connection.makefile("rb") as reader:
        head = CHUNKED % CLASSIFY.encode()
        connection.sendall(head[:-2] + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        answer = reader.read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
