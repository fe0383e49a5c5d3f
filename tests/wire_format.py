"""Writes the wire formats of Protocol Buffers and of raw tensors by hand, also such as no library would write."""

from collections.abc import Iterable


def raw_tensor(values: Iterable[bytes]) -> bytes:
    """A BYTES tensor as the Open Inference Protocol's raw contents have it."""
    return b"".join(len(value).to_bytes(4, "little") + value for value in values)


def varint(value: int) -> bytes:
    """A number as protobuf encodes it."""
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
