"""Reads the body of a request, within limits of size, time and encoding."""

import asyncio
from types import TracebackType
from typing import Self

from starlette.requests import Request

from service.errors import RequestTimeout, RequestTooLarge, TooManyBytes, UnsupportedEncoding, shortened
from service.grpc.decoding import inflate

BODY_SECONDS = 60.0
"""Maximum time that a body takes to arrive."""
SMALL_BYTES = 64 * 1024
"""A body up to this size is always taken: the number of requests bounds these."""
LARGEST_AT_ONCE = 2
"""The larger bodies that a worker holds may have as many bytes as so many of the largest."""
_ENCODINGS = ("", "identity", "gzip")


class Bodies:
    """Reads the bodies of a worker's requests.

    Args:
        max_bytes: the size of the longest body, decompressed.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._total = LARGEST_AT_ONCE * max_bytes
        self._held = 0
        self.large = asyncio.Lock()
        """Held while a large body is decoded, and in the pause after it: they take turns."""

    def charge(self) -> "Charge":
        """Returns what a request's body is charged to: it counts among those that are held while the block runs."""
        return Charge(self)

    async def read(self, request: Request, charge: "Charge") -> bytes | bytearray:
        """Returns a request's body, decompressed.

        Raises:
            UnsupportedEncoding: it is encoded otherwise than with gzip.
            RequestTooLarge: it exceeds the limit.
            RequestTimeout: it takes longer than `BODY_SECONDS` to arrive.
            TooManyBytes: the bodies of other requests leave no room for it.
            InvalidArgument: it is not valid gzip.
        """
        encoding = request.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in _ENCODINGS:
            raise UnsupportedEncoding(f"Content-Encoding: {shortened(encoding)!r} is not supported; send gzip or none")
        self._check(int(length) if (length := request.headers.get("Content-Length", "")).isdigit() else 0)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await self._receive(request, charge)
        except TimeoutError as error:
            raise RequestTimeout(f"the body did not arrive within {BODY_SECONDS:g} s") from error
        if encoding != "gzip":
            return body
        inflated = await inflate(body, self._max_bytes, "body")
        charge.set(len(inflated))
        return inflated

    async def _receive(self, request: Request, charge: "Charge") -> bytearray:
        body, size = bytearray(), 0
        refusal: TooManyBytes | None = None
        async for part in request.stream():
            size += len(part)
            self._check(size)
            try:
                if not refusal:
                    charge.set(size)
                    body += part
            except TooManyBytes as error:  # the rest is read and dropped: a client that still sends hears no refusal
                refusal, body = error, bytearray()
                charge.set(0)
        if refusal:
            raise refusal
        return body

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise RequestTooLarge(f"body: is larger than the maximum of {self._max_bytes} bytes")

    def hold(self, change: int) -> None:
        """Changes the number of bytes that are held.

        Raises:
            TooManyBytes: there is no room for so many more.
        """
        if change > 0 and self._held + change > self._total:
            raise TooManyBytes(self._total)
        self._held += change


class Charge:
    """What one request adds to the bytes that are held, until the block ends."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._size = 0

    def set(self, size: int) -> None:
        """Sets the size of the request's body."""
        size = size if size > SMALL_BYTES else 0
        self._bodies.hold(size - self._size)
        self._size = size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.set(0)
