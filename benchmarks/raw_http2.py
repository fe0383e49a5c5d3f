"""HTTP/2 without a gRPC library, for attacks that libraries do not allow: unfinished messages and unread responses."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_ACK, _END_HEADERS = 1, 4
_INITIAL_WINDOW_SIZE = 4
_FRAME_BYTES = 16384


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _header_block(headers: Sequence[tuple[str, str]]) -> bytes:
    """Encodes headers in HPACK's simplest form: literal, never indexed, without Huffman coding."""
    strings = (part.encode() for header in headers for part in header)
    coded = [len(string).to_bytes(1, "big") + string for string in strings]
    return b"".join(b"\x10" + name + value for name, value in zip(coded[::2], coded[1::2], strict=True))


class Connection:
    """A connection that respects HTTP/2's flow control when it sends, and receives as many bytes as `window` allows."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, window: int) -> None:
        self._reader, self._writer = reader, writer
        self._initial = 65535
        self._windows: defaultdict[int, int] = defaultdict(lambda: self._initial)
        self._windows[0] = 65535
        self._changed = asyncio.Condition()
        self._next_stream = 1
        settings = _INITIAL_WINDOW_SIZE.to_bytes(2, "big") + window.to_bytes(4, "big")
        writer.write(_PREFACE + _frame(SETTINGS, 0, 0, settings))
        self._task = asyncio.create_task(self._receive())

    @classmethod
    async def open(cls, address: str, window: int = 65535) -> "Connection":
        """Connects. With a window of 0, the server can send no response."""
        host, _, port = address.rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port)), window)

    def begin(self, path: str, metadata: Sequence[tuple[str, str]] = ()) -> int:
        """Begins a call. Returns its stream."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        headers = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost")]
        headers += [("te", "trailers"), ("content-type", "application/grpc"), *metadata]
        self._writer.write(_frame(HEADERS, _END_HEADERS, stream, _header_block(headers)))
        return stream

    async def send(self, stream: int, data: bytes) -> None:
        """Sends bytes of a call. Waits for the server's window."""
        at = 0
        while at < len(data):
            async with self._changed:
                await self._changed.wait_for(lambda: self._windows[0] > 0 and self._windows[stream] > 0)
            size = min(_FRAME_BYTES, len(data) - at, self._windows[0], self._windows[stream])
            self._writer.write(_frame(DATA, 0, stream, data[at : at + size]))
            self._windows[0] -= size
            self._windows[stream] -= size
            at += size
            await self._writer.drain()

    async def _receive(self) -> None:
        while True:
            head = await self._reader.readexactly(9)
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
            payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
            if kind == PING and not flags & _ACK:
                self._writer.write(_frame(PING, _ACK, 0, payload))
            elif kind == SETTINGS and not flags & _ACK:
                self._take_settings(payload)
                self._writer.write(_frame(SETTINGS, _ACK, 0, b""))
            elif kind == WINDOW_UPDATE:
                self._windows[stream] += int.from_bytes(payload, "big")
            async with self._changed:
                self._changed.notify_all()

    def _take_settings(self, payload: bytes) -> None:
        for at in range(0, len(payload), 6):
            if int.from_bytes(payload[at : at + 2], "big") == _INITIAL_WINDOW_SIZE:
                initial = int.from_bytes(payload[at + 2 : at + 6], "big")
                for stream in self._windows:
                    self._windows[stream] += (initial - self._initial) if stream else 0
                self._initial = initial

    def close(self) -> None:
        """Cuts the connection off."""
        self._task.cancel()
        self._writer.transport.abort()
