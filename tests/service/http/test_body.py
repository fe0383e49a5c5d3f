"""Bodies within their limits of size, time and encoding."""

import asyncio
import gzip
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from starlette.requests import Request

from service.errors import (
    InvalidArgument,
    RequestError,
    RequestTimeout,
    RequestTooLarge,
    TooManyBytes,
    UnsupportedEncoding,
)
from service.http import body
from service.http.body import SMALL_BYTES, Bodies


def read(parts: Sequence[bytes], max_bytes: int = 10, bodies: Bodies | None = None, **headers: str) -> bytes:
    """Reads a body that comes in these parts. After the last of them nothing comes unless it is empty."""

    async def whole() -> bytes:
        reading = bodies or Bodies(max_bytes)
        with reading.charge() as charge:
            return bytes(await reading.read(request(parts, **headers), charge))

    return asyncio.run(whole())


def request(parts: Sequence[bytes], **headers: str) -> Request:
    waiting = list(parts)

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.Event().wait()
        part = waiting.pop(0)
        return {"type": "http.request", "body": part, "more_body": part != b""}

    named = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": named}, receive)


def refusal(kind: type[RequestError], parts: Sequence[bytes], **headers: Any) -> str:
    with pytest.raises(kind) as error:
        read(parts, **headers)
    return str(error.value)


def test_a_body_may_have_exactly_the_maximum_size() -> None:
    assert read([b"12345", b"67890", b""]) == b"1234567890"
    assert read([b"1234567890", b""], content_length="10") == b"1234567890"
    assert read([b""]) == b""
    assert refusal(RequestTooLarge, [b"12345", b"678901", b""]) == "body: is larger than the maximum of 10 bytes"


def test_a_body_that_says_that_it_is_larger_is_not_waited_for() -> None:
    assert refusal(RequestTooLarge, [], content_length="11") == "body: is larger than the maximum of 10 bytes"
    assert read([b"1", b""], content_length="odd") == b"1"


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), (" GZIP ", gzip.compress), ("deflate", zlib.compress)]
)
def test_a_compressed_body_is_decompressed_up_to_the_maximum(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    assert read([compress(b"1" * 40), b""], 40, content_encoding=encoding) == b"1" * 40
    with pytest.raises(RequestTooLarge):
        read([compress(b"1" * 41), b""], 40, content_encoding=encoding)
    name = encoding.strip().lower()
    assert refusal(InvalidArgument, [b"text", b""], content_encoding=encoding) == f"body: is not valid {name}"
    whole = compress(b"1" * 40)
    assert refusal(InvalidArgument, [whole[:-1], b""], max_bytes=40, content_encoding=encoding) == (
        f"body: is not one complete {name} stream"
    )


@pytest.mark.parametrize("encoding", ["", "identity", "Identity"])
def test_a_body_may_be_in_no_encoding(encoding: str) -> None:
    assert read([b"text", b""], content_encoding=encoding) == b"text"


def test_other_encodings_are_refused_before_the_body_is_read() -> None:
    assert refusal(UnsupportedEncoding, [], content_encoding="br") == (
        "Content-Encoding: 'br' is not supported; send gzip, deflate or none"
    )


def test_larger_bodies_take_at_most_twice_the_maximum_together() -> None:
    most = 100_000
    bodies = Bodies(most)

    async def test() -> None:
        with bodies.charge() as first, bodies.charge() as second:
            await bodies.read(request([b"1" * most, b""]), first)
            await bodies.read(request([b"1" * (most - SMALL_BYTES), b"1" * SMALL_BYTES, b""]), second)
            with bodies.charge() as small:
                assert await bodies.read(request([b"1" * SMALL_BYTES, b""]), small)
            with bodies.charge() as third:
                sent = [b"1" * SMALL_BYTES, b"1", b"1", b""]
                with pytest.raises(TooManyBytes):
                    await bodies.read(request(sent), third)
        with bodies.charge() as fourth:  # the others have ended
            assert await bodies.read(request([b"1" * most, b""]), fourth)

    asyncio.run(test())


def test_a_decompressed_body_counts_with_its_whole_size() -> None:
    most = 100_000
    bodies = Bodies(most)
    parts = [gzip.compress(b"1" * most), b""]

    async def test() -> None:
        with bodies.charge() as first, bodies.charge() as second, bodies.charge() as third:
            for charge in (first, second):
                assert len(await bodies.read(request(parts, content_encoding="gzip"), charge)) == most
            with pytest.raises(TooManyBytes):
                await bodies.read(request(parts, content_encoding="gzip"), third)

    asyncio.run(test())


def test_a_body_has_a_minute_to_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    assert body.BODY_SECONDS == 60
    monkeypatch.setattr(body, "BODY_SECONDS", 0.0)
    assert refusal(RequestTimeout, [b"1"]) == "the body did not arrive within 0 s"
