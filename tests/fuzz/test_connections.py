"""Whatever bytes arrive at the port: what is no HTTP/2, and HTTP/2 whose frames make no sense."""

import socket
from collections import Counter
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server_process import ServerProcess
from text_classifier.v1 import text_classifier_pb2 as pb2

FUZZ = settings(settings.get_profile("fuzz"))
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, GOAWAY = 0, 1, 4, 7
END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, flags: int, stream: int, payload: bytes, length: int | None = None) -> bytes:
    """A frame of RFC 9113; `length` is what it claims to have when that is not the truth."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def header_block(headers: dict[str, str]) -> bytes:
    """Headers in HPACK's simplest form: literal, never indexed, without Huffman coding."""
    strings = (part.encode() for pair in headers.items() for part in pair)
    coded = [len(string).to_bytes(1, "big") + string for string in strings]
    return b"".join(b"\x10" + name + value for name, value in zip(coded[::2], coded[1::2], strict=True))


REQUEST = {
    ":method": "POST",
    ":scheme": "http",
    ":path": "/text_classifier.v1.TextClassifier/ClassifyStream",
    ":authority": "localhost",
    "te": "trailers",
    "content-type": "application/grpc",
}
_short = st.text(max_size=30)
REQUESTS = st.one_of(
    st.just(REQUEST),
    st.sampled_from(list(REQUEST)).map(lambda name: {key: value for key, value in REQUEST.items() if key != name}),
    st.builds(
        lambda name, value: {**REQUEST, name: value},
        st.one_of(_short, st.sampled_from([*REQUEST, "grpc-timeout", "grpc-encoding", "grpc-status", "x-bin"])),
        st.one_of(_short, st.sampled_from(["1n", "99999999H", "gzip", "identity", "PUT", "0", "-1"])),
    ),
).map(header_block)
MESSAGE = pb2.ClassifyRequest(model="topic", texts=["oil"]).SerializeToString()
# A gRPC message: whether it is compressed, its length, itself.
MESSAGES = st.builds(
    lambda compressed, length, message: bytes([compressed]) + length.to_bytes(4, "big") + message,
    st.sampled_from([0, 0, 1, 255]),
    st.sampled_from([len(MESSAGE), 0, len(MESSAGE) - 1, len(MESSAGE) + 1, (1 << 31) - 1, (1 << 32) - 1]),
    st.one_of(st.just(MESSAGE), st.binary(max_size=100)),
)
STREAMS = st.sampled_from([1, 1, 1, 3, 5, 0, 2, (1 << 31) - 1, (1 << 32) - 1])
KINDS, FLAGS = st.integers(0, 11), st.integers(0, 255)
FRAMES = st.one_of(
    st.builds(frame, st.just(HEADERS), st.sampled_from([END_HEADERS, END_HEADERS | END_STREAM, 0]), STREAMS, REQUESTS),
    st.builds(frame, st.just(DATA), st.sampled_from([0, END_STREAM]), STREAMS, MESSAGES),
    st.builds(frame, KINDS, FLAGS, STREAMS, st.binary(max_size=64)),
    st.builds(frame, st.integers(2, 9), st.just(0), STREAMS, st.binary(min_size=4, max_size=12)),
    st.builds(frame, KINDS, FLAGS, STREAMS, st.binary(max_size=64), st.integers(0, (1 << 24) - 1)),
    st.builds(
        bytes.__mul__, st.builds(frame, KINDS, st.just(0), STREAMS, st.binary(max_size=8)), st.integers(100, 1000)
    ),
)
HTTP2 = st.lists(FRAMES, max_size=20).map(lambda frames: PREFACE + frame(SETTINGS, 0, 0, b"") + b"".join(frames))


def deliver(address: str, data: bytes) -> bytes:
    """Sends the bytes and the end, and returns what the server says until it closes."""
    host, port = address.split(":")
    said = b""
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(1 << 16):
                said += part
        except TimeoutError:
            raise
        except OSError:  # closed before all was read
            pass
    return said


def test_a_call_made_by_hand_is_answered(server: ServerProcess) -> None:
    """Otherwise what the others send would be turned away too early to try anything."""
    message = b"\0" + len(MESSAGE).to_bytes(4, "big") + MESSAGE
    call = frame(HEADERS, END_HEADERS, 1, header_block(REQUEST)) + frame(DATA, END_STREAM, 1, message)
    host, port = server.address.split(":")
    answer, said = pb2.ClassifyResponse(model="topic", version=1).SerializeToString(), b""
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0, b"") + call)
        while answer not in said:
            part = connection.recv(1 << 16)
            assert part
            said += part


def test_what_a_client_says_when_it_goes_away_writes_no_line_of_the_log(server: ServerProcess) -> None:
    said = b'\n{"event": "forged"}\n'
    goaway = frame(GOAWAY, 0, 0, bytes(4) + (1).to_bytes(4, "big") + said)
    deliver(server.address, PREFACE + frame(SETTINGS, 0, 0, b"") + goaway)
    server.metrics()
    assert not [line for line in server.log if "forged" in str(line)]


@FUZZ
@given(sent=st.lists(st.one_of(st.binary(max_size=1000), HTTP2), min_size=1, max_size=10))
def test_a_server_that_was_sent_anything_answers_the_next_call(
    server: ServerProcess, survived: Callable[[], None], tried: Counter[str], sent: list[bytes]
) -> None:
    for data in sent:
        deliver(server.address, data)
    tried["connections of malformed HTTP/2"] += len(sent)
    survived()
