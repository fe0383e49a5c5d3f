"""Reads the body of a request, within limits of size, time and encoding."""

import asyncio

from starlette.requests import Request

from service.errors import RequestTimeout, RequestTooLarge, UnsupportedEncoding, shortened
from service.grpc.decoding import inflate

BODY_SECONDS = 60.0
"""Maximum time that a body takes to arrive."""
_ENCODINGS = ("", "identity", "gzip")


class Bodies:
    """Reads the bodies of a worker's requests.

    Args:
        max_bytes: the size of the longest body, decompressed.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.large = asyncio.Lock()
        """Held while a large body is decoded: they take turns."""

    async def read(self, request: Request) -> bytes:
        """Returns a request's body, decompressed.

        Raises:
            UnsupportedEncoding: it is encoded otherwise than with gzip.
            RequestTooLarge: it exceeds the limit.
            RequestTimeout: it takes longer than `BODY_SECONDS` to arrive.
            InvalidArgument: it is not valid gzip.
        """
        encoding = request.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in _ENCODINGS:
            raise UnsupportedEncoding(f"Content-Encoding: {shortened(encoding)!r} is not supported; send gzip or none")
        self._check(int(length) if (length := request.headers.get("Content-Length", "")).isdigit() else 0)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await self._receive(request)
        except TimeoutError as error:
            raise RequestTimeout(f"the body did not arrive within {BODY_SECONDS:g} s") from error
        return await inflate(body, self._max_bytes, "body") if encoding == "gzip" else body

    async def _receive(self, request: Request) -> bytes:
        body = bytearray()
        async for part in request.stream():
            self._check(len(body) + len(part))
            body += part
        return bytes(body)

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise RequestTooLarge(f"body: is larger than the maximum of {self._max_bytes} bytes")
