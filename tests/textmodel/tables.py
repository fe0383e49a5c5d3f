"""Writes tables of LevelDB, the format of a checkpoint's index, whose checksums are right whatever they hold."""

from textmodel._crc32c import crc32c


def mask(crc: int) -> bytes:
    return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def varint(value: int) -> bytes:
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def block(entries: bytes) -> bytes:
    """A block that stores its first key alone whole, with the right checksum."""
    contents = entries + (0).to_bytes(4, "little") + (1).to_bytes(4, "little") + b"\0"
    return contents + mask(crc32c(contents))


def entry(key: bytes, value: bytes, shared: int = 0) -> bytes:
    return varint(shared) + varint(len(key)) + varint(len(value)) + key + value


def table(entries: bytes, handles: int = 1) -> bytes:
    """An index whose checksums are right, whatever the entries are."""
    stored = block(entries)
    handle = varint(0) + varint(len(stored) - 5)
    index = block(b"".join(entry(b"\xff%06d" % number, handle) for number in range(handles)))
    footer = varint(0) + varint(0) + varint(len(stored)) + varint(len(index) - 5)
    return stored + index + footer.ljust(40, b"\0") + (0xDB4775248B80FB57).to_bytes(8, "little")
