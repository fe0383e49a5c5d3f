"""Presents an HTTP request to the servicers as a call with a deadline. It ends when the client disconnects."""

import asyncio
import re
from collections.abc import Coroutine
from time import perf_counter
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from service.errors import DeadlineExceeded, InvalidArgument, shortened

TIMEOUT = "Grpc-Timeout"
"""The deadline header of gRPC over HTTP/2. Gateways from HTTP to gRPC accept it too."""
TIMEOUT_PATTERN = "^[0-9]{1,8}[HMSmun]$"
_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}

_T = TypeVar("_T")


class Call:
    """The context of a call, for the servicers, and the binary tensors of its bodies.

    Raises:
        InvalidArgument: the request's timeout is malformed.
    """

    binary = b""
    """The bytes after the request's JSON."""
    binary_answer = b""
    """The bytes to send after the response's JSON."""

    def __init__(self, request: Request) -> None:
        timeout = request.headers.get(TIMEOUT)
        self._request = request
        self._deadline = None if timeout is None else perf_counter() + _seconds(timeout)

    def time_remaining(self) -> float | None:
        """Returns the seconds until the deadline; None without a deadline."""
        return None if self._deadline is None else self._deadline - perf_counter()

    async def wait_for(self, answer: Coroutine[Any, Any, _T]) -> _T:
        """Runs a call whose request has been read. It is cancelled at its deadline, or when the client disconnects.

        Raises:
            DeadlineExceeded: the deadline passed.
            ClientDisconnect: the client disconnected.
        """

        async def watch_for_disconnect() -> None:
            while (await self._request.receive())["type"] != "http.disconnect":
                pass
            if not limit.expired():
                limit.reschedule(0)

        listening = asyncio.create_task(watch_for_disconnect())
        try:
            async with asyncio.timeout(self.time_remaining()) as limit:
                return await answer
        except TimeoutError as error:
            raise ClientDisconnect if listening.done() else DeadlineExceeded from error
        finally:
            listening.cancel()


def _seconds(timeout: str) -> float:
    if not re.fullmatch(TIMEOUT_PATTERN, timeout):
        raise InvalidArgument(
            TIMEOUT,
            f"{shortened(timeout)!r} is not a timeout: send up to 8 digits and H, M, S, m, u or n",
        )
    return int(timeout[:-1]) * _SECONDS[timeout[-1]]
