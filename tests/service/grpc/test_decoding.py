"""Bounds of a request that hold before it is decoded, at the limits and beyond."""

import asyncio
import gzip
import zlib

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from service.errors import InvalidArgument, RequestTooLarge
from service.grpc.decoding import (
    FREE_BYTES,
    FURTHER_ELEMENTS,
    MAX_COMPRESSION_RATIO,
    DecodingLimits,
    RequestDecoder,
    inflate,
)
from service.grpc.stubs import open_inference_pb2 as oip_pb2
from tests.wire_format import varint
from text_classifier.v1 import text_classifier_pb2 as pb2

MAX_BYTES, MAX_TEXTS, MAX_TEXT_BYTES = 2_000_000, 1000, 300_000
LIMITS = DecodingLimits(MAX_BYTES, MAX_TEXTS, MAX_TEXT_BYTES)
CLASSIFY = RequestDecoder(pb2.ClassifyRequest, LIMITS)
INFER = RequestDecoder(oip_pb2.ModelInferRequest, LIMITS)
FILLING = b"\x7a" + varint(FREE_BYTES) + bytes(FREE_BYTES)
"""An unknown field, which makes a message large enough to be looked into. It is one element."""
GZIP = gzip.compress(b"text", mtime=0)
"""Without the time: pytest makes test names of it, which all test processes must agree on."""


def decode(decoder: RequestDecoder, message: bytes) -> object:
    return asyncio.run(decoder(message))


def refused(decoder: RequestDecoder, message: bytes) -> str:
    with pytest.raises(InvalidArgument) as error:
        decode(decoder, message)
    return error.value.field


def test_as_many_elements_as_the_limit_are_decoded_and_one_more_is_refused() -> None:
    most = MAX_TEXTS + FURTHER_ELEMENTS - 1
    assert decode(CLASSIFY, FILLING + b"\x1a\0" * most) == pb2.ClassifyRequest.FromString(FILLING + b"\x1a\0" * most)
    assert refused(CLASSIFY, FILLING + b"\x1a\0" * (most + 1)) == "texts"
    assert refused(CLASSIFY, FILLING * 2 + b"\x1a\0" * most) == "texts"
    assert refused(CLASSIFY, FILLING + b"\x9a\0\0" * (most + 1)) == "texts"  # the tag with a byte more than it needs
    assert refused(CLASSIFY, FILLING + b"\x1b\x1c" * most) == "texts"  # groups
    assert refused(CLASSIFY, FILLING + b"\x78\1" * (most + 1)) == "request"  # a field that the contract does not have


def test_elements_inside_messages_count_too() -> None:
    contents = b"\x42\0" * (MAX_TEXTS + FURTHER_ELEMENTS)
    contents = b"\x2a" + varint(len(contents)) + contents
    assert refused(INFER, FILLING + b"\x2a" + varint(len(contents)) + contents) == "inputs.contents.bytes_contents"
    shape = b"\1" * (MAX_TEXTS + FURTHER_ELEMENTS)
    shape = b"\x1a" + varint(len(shape)) + shape
    assert refused(INFER, FILLING + b"\x2a" + varint(len(shape)) + shape) == "inputs.shape"


def test_a_text_at_its_limit_is_decoded_and_a_longer_one_is_refused_by_its_place() -> None:
    texts = ["a", "b" * MAX_TEXT_BYTES]
    request = pb2.ClassifyRequest(texts=texts)
    assert decode(CLASSIFY, request.SerializeToString()) == request
    texts[1] += "b"
    assert refused(CLASSIFY, pb2.ClassifyRequest(texts=texts).SerializeToString()) == "texts[1]"
    # A field that holds all texts may be longer than one.
    raw = oip_pb2.ModelInferRequest(raw_input_contents=[bytes(2 * MAX_TEXT_BYTES)])
    assert decode(INFER, raw.SerializeToString()) == raw


WIRE = st.lists(
    st.one_of(
        st.binary(max_size=8),
        st.builds(lambda number, kind: varint(number << 3 | kind), st.integers(0, 7), st.integers(0, 7)),
        st.sampled_from([b"\x1a\2ab", b"\x2a\4\x2a\2\x42\0", b"\xff" * 11, b"\x1a\xff\xff\xff\xff\x0f", b"\x13\x14"]),
    ),
    max_size=10,
).map(b"".join)


@given(tail=WIRE)
@example(tail=b"\x1a\5")
@example(tail=b"\x0d\0\0")
def test_what_protobuf_decodes_passes_and_the_rest_is_no_message(tail: bytes) -> None:
    for decoder, kind in ((CLASSIFY, pb2.ClassifyRequest), (INFER, oip_pb2.ModelInferRequest)):
        message = FILLING + tail
        try:
            expected = kind.FromString(message)
        except DecodeError:
            with pytest.raises((DecodeError, InvalidArgument)):
                decode(decoder, message)
        else:
            if not any(byte & 7 in (3, 4) for byte in tail):  # what is inside unknown groups need not be a message
                assert decode(decoder, message) == expected


def test_gzip_is_inflated_up_to_the_limits_of_size_and_ratio() -> None:
    for size in (100, FREE_BYTES, MAX_COMPRESSION_RATIO * 10):
        assert asyncio.run(inflate(gzip.compress(bytes(size)), MAX_BYTES, "body")) == bytes(size)
    incompressible = zlib.compress(b"".join(number.to_bytes(4, "big") for number in range(MAX_BYTES // 8)), 1)
    data = gzip.compress(incompressible)
    assert asyncio.run(inflate(data, len(incompressible), "body")) == incompressible
    with pytest.raises(RequestTooLarge):
        asyncio.run(inflate(data, len(incompressible) - 1, "body"))
    with pytest.raises(RequestTooLarge):
        asyncio.run(inflate(gzip.compress(bytes(MAX_BYTES)), MAX_BYTES, "body"))


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b", GZIP[:-1], GZIP + b"\0", zlib.compress(b"text")])
def test_what_is_not_one_whole_gzip_stream_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument):
        asyncio.run(inflate(data, MAX_BYTES, "body"))
