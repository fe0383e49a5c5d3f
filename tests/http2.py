"""Frames of HTTP/2 (RFC 9113), for clients that do what no library does."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
NO_ERROR, CANCEL = 0, 8
ACK = END_STREAM = 1
END_HEADERS = 4
INITIAL_WINDOW_SIZE = 4


class Frame(NamedTuple):
    """A frame that the server has sent."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def settings(self) -> dict[int, int]:
        """The settings in a SETTINGS frame."""
        entries = [self.payload[at : at + 6] for at in range(0, len(self.payload), 6)]
        return {int.from_bytes(entry[:2], "big"): int.from_bytes(entry[2:], "big") for entry in entries}


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    """Writes a frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def grpc_request(method: str, stream: int, **metadata: str) -> bytes:
    """Writes the headers of a gRPC call. In the names of metadata, underscores stand for hyphens."""
    headers = {":method": "POST", ":scheme": "http", ":path": method, ":authority": "localhost"}
    headers |= {"te": "trailers", "content-type": "application/grpc"}
    headers |= {name.replace("_", "-"): value for name, value in metadata.items()}
    return frame(HEADERS, header_block(headers), END_HEADERS, stream)


def header_block(headers: Mapping[str, str]) -> bytes:
    """Headers as HPACK's literals that are never indexed. Surrogates stand for bytes that are not UTF-8."""
    strings = ((name.encode(), value.encode(errors="surrogateescape")) for name, value in headers.items())
    return b"".join(b"\x10" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in strings)


class Connection:
    """A client's connection, which acknowledges the server's settings."""

    def __init__(self, connection: socket.socket, reader: BinaryIO) -> None:
        self._connection = connection
        self._reader = reader
        self.send(PREFACE, frame(SETTINGS))

    def send(self, *frames: bytes) -> None:
        """Sends frames."""
        self._connection.sendall(b"".join(frames))

    def receive(self) -> Frame:
        """Returns the next frame."""
        head = self._reader.read(9)
        received = Frame(head[3], head[4], int.from_bytes(head[5:], "big"), self._reader.read(int.from_bytes(head[:3])))
        if received.kind == SETTINGS and not received.flags & ACK:
            self.send(frame(SETTINGS, flags=ACK))
        return received

    def ping(self) -> list[Frame]:
        """Returns what the server sends until it has read all that was sent before."""
        self.send(frame(WINDOW_UPDATE, bytes([0, 0, 0, 1])), frame(PING, bytes(8)))  # alone, pings would be a flood
        frames = []
        while (received := self.receive()).kind != PING:
            frames.append(received)
        return frames


@contextmanager
def connected(address: str) -> Iterator[Connection]:
    """Connects to `host:port` during the block."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection, connection.makefile("rb") as reader:
        yield Connection(connection, reader)
