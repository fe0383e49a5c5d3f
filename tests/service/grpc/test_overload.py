"""What the native transport does with large requests while a model's queue is full."""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.http2 import (
    CANCEL,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    NO_ERROR,
    RST_STREAM,
    SETTINGS,
    Connection,
    Frame,
    connected,
    frame,
    grpc_request,
)
from tests.server_process import ServerProcess, serving
from text_classifier.v1 import text_classifier_pb2 as pb2

pytest.importorskip("service.grpc._native_server", reason="the native transport is not built")

CLASSIFY = "/text_classifier.v1.TextClassifier/Classify"
LARGE = pb2.ClassifyRequest(model="topic", texts=["a moving film " * 70] * 300).SerializeToString()
FRAME_BYTES = 1 << 14
TRIES = 1_000_000


@pytest.fixture(scope="module")
def server(tiny_models: Path) -> Iterator[ServerProcess]:
    """A server with room for one large request."""
    with serving(tiny_models, "--transport", "native", "--workers", "1", "--max-queue-texts", "1") as server:
        yield server


@pytest.fixture
def connections(server: ServerProcess) -> Iterator[tuple[Connection, Connection]]:
    with ExitStack() as stack:
        yield stack.enter_context(connected(server.address)), stack.enter_context(connected(server.address))


def begin(connection: Connection, stream: int) -> list[Frame]:
    """Begins a large request, and returns what the server answers to its first bytes."""
    beginning = b"\0" + len(LARGE).to_bytes(4, "big") + LARGE[:100]
    connection.send(grpc_request(CLASSIFY, stream), frame(DATA, beginning, stream=stream))
    return [*connection.ping(), *connection.ping()]


def is_refused(frames: list[Frame]) -> bool:
    return any((each.kind, each.flags) == (HEADERS, END_HEADERS | END_STREAM) for each in frames)


def begin_until_admitted(connection: Connection, streams: Iterator[int]) -> int:
    """Returns the stream of the first large request that is not refused."""
    return next(stream for stream in itertools.islice(streams, TRIES) if not is_refused(begin(connection, stream)))


class Refused(NamedTuple):
    """A request that was refused, because one of another connection has the place."""

    admitted: int
    """The stream of the other one."""
    stream: int
    frames: list[Frame]
    further: Iterator[int]
    """Streams for further requests."""


def begin_until_refused(first: Connection, second: Connection) -> Refused:
    """Begins a request on each connection. The first loses its place after a second: a test that is held up by a busy
    machine for so long begins again.
    """
    streams, further = itertools.count(1, 2), itertools.count(1, 2)
    for _ in range(20):
        admitted, stream = begin_until_admitted(first, streams), next(further)
        frames = begin(second, stream)
        if is_refused(frames):
            return Refused(admitted, stream, frames, further)
    raise AssertionError("no request is refused")


def test_a_refused_request_is_told_to_send_no_more(connections: tuple[Connection, Connection]) -> None:
    refused = begin_until_refused(*connections)
    (reset,) = [each for each in refused.frames if each.kind == RST_STREAM]
    assert reset[1:] == (0, refused.stream, bytes([0, 0, 0, NO_ERROR]))


def test_a_request_has_its_place_from_its_beginning_on_until_its_client_goes(
    connections: tuple[Connection, Connection],
) -> None:
    first, second = connections
    refused = begin_until_refused(first, second)
    first.send(frame(RST_STREAM, bytes([0, 0, 0, CANCEL]), stream=refused.admitted))
    stream = begin_until_admitted(second, refused.further)
    rest = LARGE[100:]
    parts = [rest[at : at + FRAME_BYTES] for at in range(0, len(rest), FRAME_BYTES)]
    received = []
    for number, part in enumerate(parts, 1):
        second.send(frame(DATA, part, END_STREAM if number == len(parts) else 0, stream))
        received += second.ping()  # the window opens again
    while not (answers := [each.payload for each in received if (each.kind, each.stream) == (DATA, stream)]):
        received.append(second.receive())
    assert b"topic" in answers[0]


def test_a_request_whose_message_does_not_come_loses_its_place(connections: tuple[Connection, Connection]) -> None:
    refused = begin_until_refused(*connections)
    begin_until_admitted(connections[1], refused.further)  # long before the call of the first one ends


def test_clients_send_less_ahead_while_large_requests_are_refused(connections: tuple[Connection, Connection]) -> None:
    first, second = connections
    begin_until_admitted(first, itertools.count(1, 2))
    settings: list[int] = []

    def note(frames: list[Frame]) -> None:
        settings.extend(each.settings[INITIAL_WINDOW_SIZE] for each in frames if each.kind == SETTINGS and each.payload)

    for stream in itertools.islice(itertools.count(1, 2), TRIES):
        note(begin(second, stream))
        if len(settings) == 2:
            break
    while len(settings) < 3:
        note([second.receive()])
    usual, narrow, after = settings
    assert narrow < usual == after
