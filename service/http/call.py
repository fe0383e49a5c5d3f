"""An HTTP request as a call: how long its client waits, and whether it still does."""

import asyncio
import re
from collections.abc import Coroutine
from time import perf_counter
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from service.errors import DeadlineExceeded, InvalidArgument, shortened

TIMEOUT = "Grpc-Timeout"
"""The header that gRPC has over HTTP/2, and that gateways from HTTP to gRPC take."""
TIMEOUT_PATTERN = "^[0-9]{1,8}[HMSmun]$"
_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}

_T = TypeVar("_T")


class Call:
    """What a servicer asks of the call that a request came by, and the bytes behind the JSON of both bodies.

    Raises:
        InvalidArgument: the request's timeout is none.
    """

    binary = b""
    """What came behind the request's JSON."""
    binary_answer = b""
    """What goes behind the answer's."""

    def __init__(self, request: Request) -> None:
        timeout = request.headers.get(TIMEOUT)
        self._request = request
        self._deadline = None if timeout is None else perf_counter() + _seconds(timeout)

    def time_remaining(self) -> float | None:
        """Returns for how many seconds the client waits still; None: for as long as it takes."""
        return None if self._deadline is None else self._deadline - perf_counter()

    async def wait_for(self, answer: Coroutine[Any, Any, _T]) -> _T:
        """Returns the answer to the request, whose body has been read. It is cancelled when nobody waits for it.

        Raises:
            DeadlineExceeded: the deadline has passed.
            ClientDisconnect: the client has gone.
        """

        async def hear_the_client_go() -> None:
            while (await self._request.receive())["type"] != "http.disconnect":
                pass
            if not limit.expired():
                limit.reschedule(0)

        listening = asyncio.create_task(hear_the_client_go())
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
            TIMEOUT, f"{shortened(timeout)!r} is no timeout: up to 8 digits and a unit, one of H, M, S, m, u and n"
        )
    return int(timeout[:-1]) * _SECONDS[timeout[-1]]
