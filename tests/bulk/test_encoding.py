"""The encoding of classified rows, byte for byte."""

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from bulk.encoding import check_schema, encode
from bulk.inputs import Columns, InputFile, find_inputs
from bulk.results import BatchResult, deserialize, from_block, serialize, to_block
from textfiles import Format, InputError

LABELS = ["good", 'b"ad']
PROBABILITIES = np.array([0.1, 1.0], np.float32)
BATCH = pa.RecordBatch.from_pylist([{"text": "a,b", "n": 1}, {"text": 'c"d', "n": None}])


def _input(folder: Path, name: str, format_: Format | None = None) -> InputFile:
    (folder / name).touch()
    (found,) = find_inputs([folder / name], folder / "out", format_)
    return found


def _encoded(input_: InputFile, rows: pa.RecordBatch | list[bytes], *, header: bool = False) -> bytes:
    return encode(rows, LABELS, PROBABILITIES, input_, Columns(), header=header)


def test_csv_has_the_names_of_the_columns_once(tmp_path: Path) -> None:
    input_ = _input(tmp_path, "a.csv")
    lines = b'"a,b",1,"good",0.1\n"c""d",,"b""ad",1\n'
    assert _encoded(input_, BATCH) == lines
    assert _encoded(input_, BATCH, header=True) == b'"text","n","label","probability"\n' + lines


def test_tsv_is_separated_by_tabs(tmp_path: Path) -> None:
    assert _encoded(_input(tmp_path, "a.tsv"), BATCH).startswith(b'"a,b"\t1\t"good"\t0.1\n')


def test_json_lines_get_two_keys_with_the_fewest_digits(tmp_path: Path) -> None:
    lines = b'{"text":"a,b","n":1,"label":"good","probability":0.1}\n'
    lines += b'{"text":"c\\"d","n":null,"label":"b\\"ad","probability":1.0}\n'
    assert _encoded(_input(tmp_path, "a.csv", Format.JSON_LINES), BATCH) == lines


def test_json_objects_stay_unchanged_before_the_new_keys(tmp_path: Path) -> None:
    rows = [b'{"n":1e999}', b'{"n":0}']
    lines = _encoded(_input(tmp_path, "a.jsonl"), rows).splitlines()
    assert [line.partition(b',"label"')[0] for line in lines] == [b'{"n":1e999', b'{"n":0']


def test_gzip_members_of_batches_are_one_file_without_a_time(tmp_path: Path) -> None:
    input_ = _input(tmp_path, "a.csv.gz")
    first, second = _encoded(input_, BATCH, header=True), _encoded(input_, BATCH)
    assert gzip.decompress(first + second).count(b"\n") == 5
    assert first[4:8] == b"\0\0\0\0"


def test_parquet_keeps_types_and_adds_string_and_float32(tmp_path: Path) -> None:
    batch = deserialize(_encoded(_input(tmp_path, "a.parquet"), BATCH))
    types = {field.name: field.type for field in batch.schema}
    assert types == {"text": pa.string(), "n": pa.int64(), "label": pa.string(), "probability": pa.float32()}
    assert batch["label"].to_pylist() == LABELS


def test_columns_that_csv_cannot_hold_are_refused(tmp_path: Path) -> None:
    schema = pa.schema([("text", pa.string()), ("list", pa.list_(pa.int64()))])
    for format_ in (Format.CSV, Format.TSV):
        with pytest.raises(InputError, match="choose --format jsonl or parquet"):
            check_schema(_input(tmp_path, "a.parquet", format_), schema)
    check_schema(_input(tmp_path, "a.parquet", Format.JSON_LINES), schema)
    check_schema(_input(tmp_path, "a.parquet", Format.CSV), BATCH.schema)


def test_results_and_record_batches_survive_the_way_to_the_driver() -> None:
    results = [BatchResult(3, 0, 2, b"\xff", 1, b"{}", 7), BatchResult(3, 1, is_last=True, error="x")]
    assert from_block(to_block(results)) == results
    assert deserialize(serialize(BATCH)).equals(BATCH)
