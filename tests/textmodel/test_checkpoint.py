from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.textmodel.tables import entry, mask, table, varint
from textmodel._crc32c import crc32c
from textmodel.checkpoint import Checkpoint
from textmodel.errors import ModelError

SHAPES = [(), (1,), (7,), (0, 3), (4, 5), (1000, 16), (2, 3, 4, 5)]
INDEX, DATA = "variables.index", "variables.data-00000-of-00001"


class _Holder(tf.Module):
    def __init__(self, variables: list[tf.Variable]) -> None:
        super().__init__()
        self.dense = variables


def save(folder: Path, values: list[NDArray[np.generic]]) -> Path:
    """Writes a checkpoint with the values as `dense/0` and so on, as a SavedModel holds it."""
    tf.saved_model.save(_Holder([tf.Variable(value) for value in values]), str(folder))
    return folder / "variables" / "variables"


@pytest.fixture(scope="module")
def values() -> list[NDArray[np.float32]]:
    generator = np.random.default_rng(0)
    return [generator.normal(size=shape).astype(np.float32) for shape in SHAPES]


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory, values: list[NDArray[np.generic]]) -> Path:
    return save(tmp_path_factory.mktemp("checkpoint"), values)


def test_reads_what_tensorflow_reads(prefix: Path, values: list[NDArray[np.float32]]) -> None:
    reader = tf.train.load_checkpoint(str(prefix))
    checkpoint = Checkpoint(prefix)
    for number, value in enumerate(values):
        read = checkpoint.read(f"dense/{number}", value.shape)
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, value)
        np.testing.assert_array_equal(read, reader.get_tensor(f"dense/{number}/.ATTRIBUTES/VARIABLE_VALUE"))


def test_float16_is_read_as_float32(tmp_path: Path) -> None:
    value = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float16)
    read = Checkpoint(save(tmp_path, [value])).read("dense/0", (3, 5))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, value)


def test_float32_is_read_without_a_copy(prefix: Path) -> None:
    checkpoint = Checkpoint(prefix)
    assert np.shares_memory(checkpoint.read("dense/5", SHAPES[5]), checkpoint.read("dense/5", SHAPES[5]))


def test_float32_behind_an_odd_number_of_halves_is_read_aligned(tmp_path: Path) -> None:
    checkpoint = Checkpoint(save(tmp_path, [np.ones(3, np.float16), np.arange(4, dtype=np.float32)]))
    read = checkpoint.read("dense/1", (4,))
    assert read.flags.aligned
    np.testing.assert_array_equal(read, np.arange(4))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_an_error(tmp_path: Path, dtype: type[np.floating[Any]], number: float) -> None:
    checkpoint = Checkpoint(save(tmp_path, [np.array([0, number, 0], dtype)]))
    with pytest.raises(ModelError, match="variable dense/0: not all of its numbers are finite"):
        checkpoint.read("dense/0", (3,))


def test_an_index_of_many_blocks_is_read(tmp_path: Path) -> None:
    names = [f"{number:04} {'long name' * 50}" for number in range(2000)]
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "variables"),
        tensor_names=[f"{name}/.ATTRIBUTES/VARIABLE_VALUE" for name in names],
        shape_and_slices=[""] * len(names),
        tensors=[np.float32(number) for number in range(len(names))],
    )
    checkpoint = Checkpoint(tmp_path / "variables")
    for number, name in enumerate(names):
        assert checkpoint.read(name, ()) == number


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("dense/7", (), "no variable dense/7"),
        ("dense/4", (5, 4), r"shape \(4, 5\) instead of \(5, 4\)"),
        ("dense/4", (20,), r"shape \(4, 5\)"),
    ],
)
def test_another_name_or_shape_is_an_error(prefix: Path, name: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Checkpoint(prefix).read(name, shape)


def test_another_data_type_is_an_error(tmp_path: Path) -> None:
    checkpoint = Checkpoint(save(tmp_path, [np.zeros(3, np.float64)]))
    with pytest.raises(ModelError, match="float32"):
        checkpoint.read("dense/0", (3,))


@pytest.mark.parametrize("name", [INDEX, DATA])
def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    prefix = save(tmp_path, [np.zeros(3, np.float32)])
    (prefix.parent / name).unlink()
    with pytest.raises(ModelError, match=f"{name}: No such file"):
        Checkpoint(prefix)


def read_all(prefix: Path, values: list[NDArray[np.float32]]) -> None:
    """Reads everything: it has to be right, or a ModelError."""
    try:
        checkpoint = Checkpoint(prefix)
    except ModelError:
        return
    for number, value in enumerate(values):
        try:
            read = checkpoint.read(f"dense/{number}", value.shape)
        except ModelError:
            continue
        np.testing.assert_array_equal(read, value)


@pytest.mark.parametrize("name", [INDEX, DATA])
def test_a_shortened_file_gives_the_right_values_or_an_error(
    prefix: Path, tmp_path: Path, values: list[NDArray[np.float32]], name: str
) -> None:
    for other in (INDEX, DATA):
        (tmp_path / other).write_bytes((prefix.parent / other).read_bytes())
    whole = (prefix.parent / name).read_bytes()
    for length in range(0, len(whole), 1 + len(whole) // 500):
        (tmp_path / name).write_bytes(whole[:length])
        read_all(tmp_path / "variables", values)
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError):
        Checkpoint(tmp_path / "variables").read(f"dense/{len(values) - 2}", values[-2].shape)


@pytest.mark.parametrize("name", [INDEX, DATA])
@given(data=st.data())
def test_changed_bytes_give_the_right_values_or_an_error(
    tmp_path_factory: pytest.TempPathFactory,
    prefix: Path,
    values: list[NDArray[np.float32]],
    name: str,
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("changed")
    for other in (INDEX, DATA):
        (folder / other).write_bytes((prefix.parent / other).read_bytes())
    contents = bytearray((folder / name).read_bytes())
    for position in data.draw(st.lists(st.integers(0, len(contents) - 1), min_size=1, max_size=5)):
        contents[position] = data.draw(st.integers(0, 255))
    (folder / name).write_bytes(contents)
    read_all(folder / "variables", values)


HEADER = entry(b"", b"\x08\x01")
KEY = b"v/.ATTRIBUTES/VARIABLE_VALUE"


def hostile(folder: Path, index: bytes, data: bytes = b"\0" * 16) -> None:
    (folder / INDEX).write_bytes(index)
    (folder / DATA).write_bytes(data)
    Checkpoint(folder / "variables").read("v", (4,))


def bundle_entry(size: int = 16, offset: int = 0, shape: bytes = b"\x12\x04\x12\x02\x08\x04", shard: int = 0) -> bytes:
    return (
        b"\x08\x01" + shape + b"\x18" + varint(shard) + b"\x20" + varint(offset) + b"\x28" + varint(size)
        + b"\x35" + mask(crc32c(b"\0" * 16))
    )  # fmt: skip


def test_a_table_written_by_hand_is_read(tmp_path: Path) -> None:
    hostile(tmp_path, table(HEADER + entry(KEY, bundle_entry())))


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (table(entry(b"", b"\x08\x02")), "shard"),
        (table(entry(b"", b"\x08\x01\x10\x01")), "little-endian"),
        (table(entry(b"", b"\x0a\x01a")), "not a number"),
        (table(entry(b"", b"\x0b")), "wire type"),
        (table(entry(b"", b"\x08" + b"\xff" * 20)), "too long"),
        (table(entry(b"", b"\x0a\xff\xff\xff\xff\x7fa")), "ends too early"),
        (table(HEADER + HEADER), "order"),
        (table(HEADER, handles=1000), "order"),
        (table(HEADER + entry(b"a" * 5000, b"")), "wrong length"),
        (table(HEADER + entry(b"a", b"", shared=3)), "wrong length"),
        (table(HEADER + b"\x00\xff\xff\xff\xff\x7f\x00"), "wrong length"),
        (table(HEADER + entry(KEY, bundle_entry(size=1 << 60))), "not all there"),
        (table(HEADER + entry(KEY, bundle_entry(offset=(1 << 63) - 1))), "not all there"),
        (table(HEADER + entry(KEY, bundle_entry(offset=1))), "not all there"),
        (table(HEADER + entry(KEY, bundle_entry(size=12))), "not all there"),
        (table(HEADER + entry(KEY, bundle_entry(shard=1))), "not all there"),
        (table(HEADER + entry(KEY, bundle_entry(shape=b"\x10\x04"))), "not a message"),
        (table(HEADER + entry(KEY, bundle_entry(shape=b""))), "shape"),
    ],
)
def test_a_hostile_index_with_right_checksums_is_an_error(tmp_path: Path, index: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        hostile(tmp_path, index)


@given(entries=st.binary())
@settings(max_examples=300)
def test_any_entries_with_right_checksums_are_read_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, entries: bytes
) -> None:
    folder = tmp_path_factory.mktemp("hostile")
    for index in (table(HEADER + entries), table(HEADER + entry(KEY, entries)), entries, table(HEADER)[:-48] + entries):
        with pytest.raises(ModelError):
            hostile(folder, index)


@pytest.mark.parametrize(
    ("data", "crc"),
    [  # RFC 3720, appendix B.4
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_the_checksum_is_crc32c(data: bytes, crc: int) -> None:
    assert crc32c(data) == crc
