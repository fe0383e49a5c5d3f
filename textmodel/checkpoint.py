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
from textmodel.wire import MalformedError, Message, Reader

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
            header = Message(self._entries.get(b"", b""))
            if header.number(1) != 1 or header.number(2):
                raise MalformedError("not one little-endian shard")
            self._data = memoryview(data.read_bytes())
        except OSError as error:
            raise ModelError(f"{error.filename}: {error.strerror}") from error
        except MalformedError as error:
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
        except MalformedError as error:
            raise ModelError(f"{self._index}: variable {name}: {error}") from error

    def _read(self, key: bytes, shape: tuple[int, ...]) -> NDArray[np.float32]:
        entry = Message(self._entries[key])
        dtype, shard, offset, size, checksum = map(entry.number, (1, 3, 4, 5, 6))
        dimensions = tuple(dimension.number(1) for part in entry.messages(2) for dimension in part.messages(2))
        if dtype not in _DATA_TYPES:
            raise MalformedError(f"data type {dtype} instead of float32 or float16, one of {list(_DATA_TYPES)}")
        if dimensions != shape:
            raise MalformedError(f"shape {dimensions} instead of {shape}")
        stored = self._data[offset : offset + size]
        if shard or size != _DATA_TYPES[dtype].itemsize * math.prod(shape) or len(stored) != size:
            raise MalformedError("its bytes are not all there")
        if _checksum(stored) != checksum:
            raise MalformedError("its checksum is wrong")
        values = np.frombuffer(stored, _DATA_TYPES[dtype])
        if not np.isfinite(values).all():
            raise MalformedError("not all of its numbers are finite")
        # Behind an odd number of halves, float32 is not aligned.
        return np.require(values, np.float32, ["ALIGNED"]).reshape(shape)


def _checksum(data: bytes | memoryview) -> int:
    """Returns the CRC-32C, masked as LevelDB stores it (tensorflow/core/lib/hash/crc32c.h)."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the keys and values of a LevelDB table: blocks, found by a block that holds where they are."""
    if len(data) < _FOOTER_BYTES or int.from_bytes(data[-8:], "little") != _MAGIC:
        raise MalformedError("not a checkpoint's index: no magic number at its end")
    footer = Reader(data[-_FOOTER_BYTES:])
    _handle(footer)  # of a block of statistics
    last = None
    for _, handle in _block(data, *_handle(footer)):
        for key, value in _block(data, *_handle(Reader(handle))):
            if last is not None and key <= last:
                raise MalformedError("keys are not in order")
            last = key
            yield key, value


def _handle(reader: Reader) -> tuple[int, int]:
    """Takes the offset and size of a block."""
    return reader.varint(), reader.varint()


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yields the keys and values of a block.

    Behind them are the places where a key is stored whole, uint32, and their number; behind the block, the compression,
    one byte, and the checksum of all this.
    """
    stored = Reader(data[offset : offset + size + 5])
    block, compression = stored.take(size), stored.take(1)
    if _checksum(block + compression) != int.from_bytes(stored.take(4), "little"):
        raise MalformedError("a block's checksum is wrong")
    if compression[0] != _UNCOMPRESSED:
        raise MalformedError("a block is compressed")
    entries = size - 4 - 4 * int.from_bytes(block[-4:], "little")
    if entries < 0:
        raise MalformedError("a block ends too early")
    reader = Reader(block[:entries])
    key = b""
    while reader:
        shared, added, value_size = reader.varint(), reader.varint(), reader.varint()
        if shared > len(key) or shared + added > _LONGEST_KEY:
            raise MalformedError("a key has a wrong length")
        key = key[:shared] + reader.take(added)
        yield key, reader.take(value_size)
