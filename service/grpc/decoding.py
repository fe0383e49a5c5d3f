"""Decodes requests, and checks their limits first, since a small message can decode to a large object.

gzip compresses up to a thousandfold, and two bytes of protobuf may become an element of sixteen or more bytes of
memory. So a message is decompressed up to a limit, then scanned without building objects, and only then parsed.
"""

import asyncio
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from service.errors import InvalidArgument, RequestTooLarge

MAX_COMPRESSION_RATIO = 100
"""Maximum size of a request relative to its compressed size. Text compresses to a third or a fifth."""
FREE_BYTES = 256 * 1024
"""A request up to this size is not scanned before it is parsed. To parse it takes at most 5 MB and 1 ms."""
FURTHER_ELEMENTS = 256
"""Maximum number of elements of a request in addition to its texts: names, shapes, parameters, unknown fields."""

WINDOW_BITS = {"gzip": 31, "deflate": 15}
"""The encodings that are decompressed, and how zlib is told of them. HTTP's deflate has the header of zlib."""

_GZIP = b"\x1f\x8b"
_INLINE_BYTES = 2048
"""Up to this size, compressed bytes are decompressed on the event loop, which is faster than starting a thread."""
# One thread: decompression takes memory and CPU time.
_INFLATING = ThreadPoolExecutor(1, thread_name_prefix="inflate")


_T = TypeVar("_T")


@dataclass(frozen=True)
class DecodingLimits:
    """Bounds of one request."""

    max_bytes: int
    """Maximum size of the decompressed message."""
    max_texts: int
    max_text_bytes: int


async def inflate(data: bytes | bytearray, max_bytes: int, name: str, encoding: str = "gzip") -> bytes:
    """Decompresses data, off the event loop.

    Args:
        data: the compressed bytes.
        max_bytes: the maximum size of the result.
        name: the name of the data in errors.
        encoding: one of `WINDOW_BITS`.

    Raises:
        InvalidArgument: the data are not of this encoding, or are incomplete.
        RequestTooLarge: the result would exceed its maximum size, or `MAX_COMPRESSION_RATIO`.
    """
    return await _beside_the_loop(len(data), lambda: _inflated(data, max_bytes, name, encoding))


async def _beside_the_loop(size: int, work: Callable[[], _T]) -> _T:
    return work() if size <= _INLINE_BYTES else await asyncio.get_running_loop().run_in_executor(_INFLATING, work)


def _inflated(data: bytes | bytearray, max_bytes: int, name: str, encoding: str = "gzip") -> bytes:
    limit = min(max_bytes, max(FREE_BYTES, MAX_COMPRESSION_RATIO * len(data)))
    inflater = zlib.decompressobj(WINDOW_BITS[encoding])
    try:
        inflated = inflater.decompress(data, limit + 1)
    except zlib.error as error:
        raise InvalidArgument(name, f"is not valid {encoding}") from error
    if len(inflated) > limit:
        raise RequestTooLarge(
            f"{name}: is larger than {limit} bytes when decompressed; the maximum is {max_bytes} bytes, and"
            f" {MAX_COMPRESSION_RATIO} times the compressed size"
        )
    if not inflater.eof or inflater.unused_data:
        raise InvalidArgument(name, f"is not one complete {encoding} stream")
    return inflated


class RequestDecoder:
    """Decodes messages of one type.

    Args:
        kind: the type.
        limits: the bounds of a message.
    """

    def __init__(self, kind: type[Message], limits: DecodingLimits) -> None:
        self._kind = kind
        self._limits = limits
        self._fields = _fields(kind.DESCRIPTOR)

    async def __call__(self, data: bytes) -> Any:
        """Decodes a message, compressed or not.

        Raises:
            InvalidArgument: a field is too large, or has too many elements; the message is not valid gzip.
            RequestTooLarge: the message exceeds its maximum size when it is decompressed.
            DecodeError: the bytes are not a message.
        """
        # No uncompressed message begins with these bytes: they would be a tag with an undefined wire type.
        if data.startswith(_GZIP):
            return await _beside_the_loop(len(data), lambda: self._inflate_and_decode(data))
        return self._decode(data)

    def _inflate_and_decode(self, data: bytes) -> Message:
        return self._decode(_inflated(data, self._limits.max_bytes, "request"))

    def _decode(self, data: bytes) -> Message:
        if len(data) > FREE_BYTES:
            self._scan(data)
        return self._kind.FromString(data)

    def _scan(self, data: bytes) -> None:
        scan = _Scan(data, self._limits, self._limits.max_texts + FURTHER_ELEMENTS)
        try:
            scan.message(0, len(data), self._fields)
        except (IndexError, KeyError) as error:
            raise DecodeError("the message is truncated, or has an undefined wire type") from error


@dataclass(frozen=True)
class _Field:
    """What the scan needs to know of a length-delimited field."""

    name: str
    nested: Mapping[int, "_Field"] | None = None
    """The fields of a message."""
    packed: bool = False
    """Whether each byte may be a number."""
    is_text: bool = False


@dataclass
class _Scan:
    """One walk through an encoded message, without building objects: protobuf.dev/programming-guides/encoding."""

    data: bytes
    limits: DecodingLimits
    left: int
    """Number of elements that may still follow."""
    texts: int = 0
    """Number of texts that have been seen."""

    def message(self, at: int, end: int, fields: Mapping[int, _Field], path: str = "") -> None:
        """Walks through the fields of a message, from `at` to `end`.

        Raises:
            InvalidArgument: there are too many fields, or a text is too large.
            DecodeError: the bytes are not a message.
            IndexError: the bytes end too early.
        """
        data = self.data  # short fields are read without a call, which would take as long as to parse the field
        while at < end:
            tag = data[at]
            at += 1
            if tag > 127:
                tag, at = _varint(data, at - 1)
            known = fields.get(tag >> 3)
            self.left -= 1
            if self.left < 0:
                self._refuse(path + known.name if known else path.rstrip(".") or "request")
            wire_type = tag & 7
            if wire_type == _LENGTH_DELIMITED:
                size = data[at]
                at += 1
                if size > 127:
                    size, at = _varint(data, at - 1)
                if known and at + size <= end:
                    self._enter(at, at + size, known, path)
                at += size
            elif wire_type == 0:
                _, at = _varint(data, at)
            else:
                at += _FIXED_BYTES[wire_type]
        if at != end:
            raise IndexError

    def _enter(self, at: int, end: int, known: _Field, path: str) -> None:
        name = path + known.name
        if known.nested is not None:
            self.message(at, end, known.nested, f"{name}.")
        elif known.packed:
            self.left -= end - at
            if self.left < 0:
                self._refuse(name)
        elif known.is_text:
            if end - at > self.limits.max_text_bytes:
                raise text_too_large(f"{name}[{self.texts}]", end - at, self.limits.max_text_bytes)
            self.texts += 1

    def _refuse(self, name: str) -> None:
        limit = self.limits.max_texts
        raise InvalidArgument(name, f"has too many elements; at most {limit} texts fit into a request: split it")


_LENGTH_DELIMITED = 2
# The number of bytes that follow a tag, by wire type. The tags that begin and end a group have none; the fields of a
# group count like others.
_FIXED_BYTES = {1: 8, 3: 0, 4: 0, 5: 4}


def text_too_large(field: str, size: int, limit: int) -> InvalidArgument:
    """Returns the error for a text that exceeds its limit."""
    return InvalidArgument(field, f"has {size} bytes; at most {limit} are allowed")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Reads a number. Returns it, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise DecodeError("a number has more than 10 bytes")


_TEXTS = {"text_classifier.v1.ClassifyRequest.texts", "inference.InferTensorContents.bytes_contents"}
"""The fields that hold texts, one in each element."""


def _fields(descriptor: Any) -> dict[int, _Field]:
    return {each.number: _field(each) for each in descriptor.fields}


def _field(each: Any) -> _Field:
    if each.message_type:
        return _Field(each.name, nested=_fields(each.message_type))
    is_string = each.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
    return _Field(each.name, packed=not is_string, is_text=each.full_name in _TEXTS)
