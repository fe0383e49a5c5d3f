"""Writes the wire format of Protocol Buffers by hand, for messages that a library would not write."""


def varint(value: int) -> bytes:
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
