"""Reads the body of a request, within limits of size, time and encoding."""

import asyncio
from types import TracebackType
from typing import Self

from starlette.requests import Request

from service.errors import RequestTimeout, RequestTooLarge, TooManyBytes, UnsupportedEncoding, shortened
from service.grpc.decoding import WINDOW_BITS, inflate

BODY_SECONDS = 60.0
"""Maximum time until a body has arrived."""
SMALL_BYTES = 64 * 1024
"""A body up to this size is always accepted, since the number of requests is limited."""
LARGEST_AT_ONCE = 2
"""The larger bodies in a worker's memory may have as many bytes as this number of bodies of the maximum size."""


class Bodies:
    """Reads the bodies of a worker's requests.

    Args:
        max_bytes: maximum size of a decompressed body.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._total = LARGEST_AT_ONCE * max_bytes
        self._held = 0
        self.large = asyncio.Lock()
        """Held while a large body is decoded, and in the pause after it, so that large bodies take turns."""

    def charge(self) -> "Charge":
        """Returns a context manager that counts a request's body among those in memory, until its block ends."""
        return Charge(self)

    async def read(self, request: Request, charge: "Charge") -> bytes | bytearray:
        """Returns a request's body, decompressed.

        Raises:
            UnsupportedEncoding: the body has another encoding than gzip or deflate.
            RequestTooLarge: the body exceeds the limit.
            RequestTimeout: the body takes longer than `BODY_SECONDS` to arrive.
            TooManyBytes: the bodies of other requests leave no room for it.
            InvalidArgument: the body is not of its encoding.
        """
        encoding = request.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in ("", "identity", *WINDOW_BITS):
            raise UnsupportedEncoding(
                f"Content-Encoding: {shortened(encoding)!r} is not supported; send gzip, deflate or none"
            )
        self._check(int(length) if (length := request.headers.get("Content-Length", "")).isdigit() else 0)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await self._receive(request, charge)
        except TimeoutError as error:
            raise RequestTimeout(f"the body did not arrive within {BODY_SECONDS:g} s") from error
        if encoding not in WINDOW_BITS:
            return body
        inflated = await inflate(body, self._max_bytes, "body", encoding)
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
            except TooManyBytes as error:  # reads and drops the rest: a client that still sends reads no response
                refusal, body = error, bytearray()
                charge.set(0)
        if refusal:
            raise refusal
        return body

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise RequestTooLarge(f"body: is larger than the maximum of {self._max_bytes} bytes")

    def hold(self, change: int) -> None:
        """Changes the number of bytes in memory.

        Raises:
            TooManyBytes: there is no room for this number of bytes.
        """
        if change > 0 and self._held + change > self._total:
            raise TooManyBytes(self._total)
        self._held += change


class Charge:
    """The bytes that one request keeps in memory until the block ends."""

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
