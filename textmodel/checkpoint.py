"""Reads the variables of a SavedModel without TensorFlow.

The format is TensorFlow's tensor bundle (tensorflow/core/util/tensor_bundle, tensorflow/core/protobuf/
tensor_bundle.proto): `variables.index` is a sorted table in LevelDB's format (tensorflow/core/lib/io/table_format.txt)
from each variable's key to a BundleEntryProto, which says where its bytes are in `variables.data-00000-of-00001`.
Blocks and variables carry checksums. All of it is checked: a damaged file is an error, never a wrong number.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textmodel._crc32c import crc32c
from textmodel.errors import ModelError, UnsupportedError

# tensorflow/core/lib/io/format.h
_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
_UNCOMPRESSED = 0
_LONGEST_KEY = 1 << 12
"""Bytes; a bound of this reader. Keys are stored as what they add to the one before: without a bound, a small file
could hold gigabytes of them."""

# tensorflow/core/framework/types.proto
_DATA_TYPES: dict[int, np.dtype[np.floating[Any]]] = {1: np.dtype("<f4"), 19: np.dtype("<f2")}  # DT_FLOAT, DT_HALF


class Checkpoint:
    """The variables of one checkpoint, in one shard, as SavedModels of this size are.

    Args:
        prefix: `<version folder>/variables/variables`: the files' names begin so.

    Raises:
        ModelError: a file is missing, or is not such a checkpoint.
    """

    def __init__(self, prefix: Path) -> None:
        self._index = prefix.with_name(f"{prefix.name}.index")
        data = prefix.with_name(f"{prefix.name}.data-00000-of-00001")
        try:
            self._entries = dict(_table(self._index.read_bytes()))
            header = _Message(self._entries.get(b"", b""))
            if header.number(1) != 1 or header.number(2):
                raise _MalformedError("not one little-endian shard")
            self._data = memoryview(data.read_bytes())
        except OSError as error:
            raise ModelError(f"{error.filename}: {error.strerror}") from error
        except _MalformedError as error:
            raise ModelError(f"{self._index}: {error}") from error

    def read(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Reads a variable, without a copy if it is float32 and aligned.

        Args:
            name: its path from the saved object, `dense/0/kernel`.
            shape: the shape that it has to have.

        Raises:
            UnsupportedError: it is not there.
            ModelError: it is neither float32 nor float16, has another shape, its bytes are damaged, or a number is not
                finite.
        """
        key = f"{name}/.ATTRIBUTES/VARIABLE_VALUE".encode()
        if key not in self._entries:
            raise UnsupportedError(f"{self._index}: there is no variable {name}")
        try:
            return self._read(key, shape)
        except _MalformedError as error:
            raise ModelError(f"{self._index}: variable {name}: {error}") from error

    def _read(self, key: bytes, shape: tuple[int, ...]) -> NDArray[np.float32]:
        entry = _Message(self._entries[key])
        dtype, shard, offset, size, checksum = map(entry.number, (1, 3, 4, 5, 6))
        dimensions = tuple(dimension.number(1) for part in entry.messages(2) for dimension in part.messages(2))
        if dtype not in _DATA_TYPES:
            raise _MalformedError(f"data type {dtype} instead of float32 or float16, one of {list(_DATA_TYPES)}")
        if dimensions != shape:
            raise _MalformedError(f"shape {dimensions} instead of {shape}")
        stored = self._data[offset : offset + size]
        if shard or size != _DATA_TYPES[dtype].itemsize * math.prod(shape) or len(stored) != size:
            raise _MalformedError("its bytes are not all there")
        if _checksum(stored) != checksum:
            raise _MalformedError("its checksum is wrong")
        values = np.frombuffer(stored, _DATA_TYPES[dtype])
        if not np.isfinite(values).all():
            raise _MalformedError("not all of its numbers are finite")
        # Behind an odd number of halves, float32 is not aligned.
        return np.require(values, np.float32, ["ALIGNED"]).reshape(shape)


class _MalformedError(Exception):
    """What is wrong, without where."""


class _Reader:
    """Takes numbers and bytes one after another, never past the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        if size > len(self._data) - self._at:
            raise _MalformedError("something ends too early")
        self._at += size
        return self._data[self._at - size : self._at]

    def varint(self) -> int:
        """Takes 7 bits a byte, the lowest first, the high bit set in all but the last."""
        value = 0
        for shift in range(0, 64, 7):
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise _MalformedError("a number is too long")


class _Message:
    """The fields of a protocol buffer, by number. One that is not there reads as 0 or as nothing."""

    def __init__(self, data: bytes) -> None:
        self._fields: dict[int, list[int | bytes]] = {}
        reader = _Reader(data)
        while reader:
            tag = reader.varint()
            value: int | bytes
            match tag & 7:
                case 0:
                    value = reader.varint()
                case 1:
                    value = int.from_bytes(reader.take(8), "little")
                case 2:
                    value = reader.take(reader.varint())
                case 5:
                    value = int.from_bytes(reader.take(4), "little")
                case _:
                    raise _MalformedError("a field has an unknown wire type")
            self._fields.setdefault(tag >> 3, []).append(value)

    def number(self, field: int) -> int:
        value = self._fields.get(field, [0])[-1]
        if not isinstance(value, int):
            raise _MalformedError(f"field {field} is not a number")
        return value

    def messages(self, field: int) -> "Iterator[_Message]":
        for value in self._fields.get(field, []):
            if not isinstance(value, bytes):
                raise _MalformedError(f"field {field} is not a message")
            yield _Message(value)


def _checksum(data: bytes | memoryview) -> int:
    """Returns the CRC-32C, masked as LevelDB stores it (tensorflow/core/lib/hash/crc32c.h)."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the keys and values of a LevelDB table: blocks, found by a block that holds where they are."""
    if len(data) < _FOOTER_BYTES or int.from_bytes(data[-8:], "little") != _MAGIC:
        raise _MalformedError("not a checkpoint's index: no magic number at its end")
    footer = _Reader(data[-_FOOTER_BYTES:])
    _handle(footer)  # of a block of statistics
    last = None
    for _, handle in _block(data, *_handle(footer)):
        for key, value in _block(data, *_handle(_Reader(handle))):
            if last is not None and key <= last:
                raise _MalformedError("keys are not in order")
            last = key
            yield key, value


def _handle(reader: _Reader) -> tuple[int, int]:
    """Takes the offset and size of a block."""
    return reader.varint(), reader.varint()


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yields the keys and values of a block.

    Behind them are the places where a key is stored whole, uint32, and their number; behind the block, the compression,
    one byte, and the checksum of all this.
    """
    stored = _Reader(data[offset : offset + size + 5])
    block, compression = stored.take(size), stored.take(1)
    if _checksum(block + compression) != int.from_bytes(stored.take(4), "little"):
        raise _MalformedError("a block's checksum is wrong")
    if compression[0] != _UNCOMPRESSED:
        raise _MalformedError("a block is compressed")
    entries = size - 4 - 4 * int.from_bytes(block[-4:], "little")
    if entries < 0:
        raise _MalformedError("a block ends too early")
    reader = _Reader(block[:entries])
    key = b""
    while reader:
        shared, added, value_size = reader.varint(), reader.varint(), reader.varint()
        if shared > len(key) or shared + added > _LONGEST_KEY:
            raise _MalformedError("a key has a wrong length")
        key = key[:shared] + reader.take(added)
        yield key, reader.take(value_size)
