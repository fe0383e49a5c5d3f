import gzip
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from bulk.encoding import encode
from bulk.inputs import Columns, find_inputs
from bulk.reading import read_batches
from textfiles import Format, InputError, ReadOptions

OBJECTS = b'{"line": "a", "n": 1e999}\n{"n": null, "line": "b"}\n{"line": "\\ud800"}\n'


def test_other_json_values_stay_unchanged(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(OBJECTS)
    (input_,) = find_inputs([tmp_path / "a.jsonl"], tmp_path / "out", None)
    (batch,) = read_batches(input_, Columns(text="line"))
    assert batch.texts == ["a", "b"]
    assert batch.rows == [b'{"line":"a","n":1e999}', b'{"n":null,"line":"b"}']
    assert [row.number for row in batch.unreadable] == [3]


@pytest.mark.parametrize("format_", [Format.CSV, Format.PARQUET])
def test_json_becomes_columns_of_strings(format_: Format, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(OBJECTS)
    (input_,) = find_inputs([tmp_path / "a.jsonl"], tmp_path / "out", format_)
    (batch,) = read_batches(input_, Columns(text="line"))
    assert not isinstance(batch.rows, list)
    assert batch.rows.to_pylist() == [{"line": "a", "n": "1e999"}, {"line": "b", "n": None}]
    assert batch.texts == ["a", "b"]
    assert [row.number for row in batch.unreadable] == [3]


@pytest.mark.parametrize(
    ("texts", "max_rows"),
    [
        ([str(number) * 500_000 for number in range(10, 70)], 2),
        (["a long film" * 4_000] * 500, 128),  # the file contains it once
    ],
)
def test_few_large_rows_of_parquet_are_in_memory_together(texts: list[str], max_rows: int, tmp_path: Path) -> None:
    parquet.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    (input_,) = find_inputs([tmp_path / "a.parquet"], tmp_path / "out", None)
    found = [batch.texts for batch in read_batches(input_, Columns())]
    assert max(map(len, found)) <= max_rows
    assert [text for part in found for text in part] == texts


@pytest.mark.parametrize(
    ("content", "options", "output"),
    [
        (b"id;text\n1;a b\n", ReadOptions(delimiter=";"), b'"id";"text";"label";"probability"\n"1";"a b";"x";0.5\n'),
        (b"1,a b\n", ReadOptions(header=False), b'"1","a b","x",0.5\n'),
        ("id·text\n1·é\n".encode("cp1252"), ReadOptions(delimiter="·", encoding="cp1252"), '"1","é","x",0.5'.encode()),
    ],
)
def test_csv_is_read_as_the_options_say_and_written_alike(
    content: bytes, options: ReadOptions, output: bytes, tmp_path: Path
) -> None:
    (tmp_path / "a.csv.zst").write_bytes(pa.compress(content, codec="zstd", asbytes=True))
    (input_,) = find_inputs([tmp_path / "a.csv.zst"], tmp_path / "out", None, options)
    assert input_.output == Path("a.csv.gz")
    columns = Columns(text="text" if options.header else "2")
    (batch,) = read_batches(input_, columns)
    encoded = encode(batch.rows, ["x"], np.array([0.5], np.float32), input_, columns, header=True)
    assert output in gzip.decompress(encoded)


def _write_texts(path: Path, texts: list[str | None]) -> Path:
    if path.suffix == ".parquet":
        parquet.write_table(pa.table({"text": pa.array(texts, pa.string())}), path)
    elif path.suffix == ".jsonl":
        path.write_bytes(b"".join(msgspec.json.encode({"text": text}) + b"\n" for text in texts))
    elif path.suffix == ".txt":
        path.write_text("".join(f"{text or ''}\n" for text in texts))
    else:
        path.write_text("text,n\n" + "".join(f"{text or ''},1\n" for text in texts))
    return path


@pytest.mark.parametrize("format_", [None, Format.CSV])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "a.txt"])
def test_empty_texts_are_rejected_in_every_format(name: str, format_: Format | None, tmp_path: Path) -> None:
    path = _write_texts(tmp_path / name, ["a b", "", None, " ", "c"])
    (input_,) = find_inputs([path], tmp_path / "out", format_)
    batches = list(read_batches(input_, Columns()))
    assert [text for batch in batches for text in batch.texts] == ["a b", "c"]
    assert [row.reason for batch in batches for row in batch.unreadable] == ["the text is empty"] * 3


@pytest.mark.parametrize(
    ("taken", "option"), [("p", "--label-column"), ("q", "--probability-column"), ("r", "--abstained-column")]
)
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_the_option_that_renames_a_taken_column_is_named(name: str, taken: str, option: str, tmp_path: Path) -> None:
    content = f"text,{taken}\na,b\n" if name == "a.csv" else f'{{"text": "a", "{taken}": "b"}}\n'
    (tmp_path / name).write_text(content)
    (input_,) = find_inputs([tmp_path / name], tmp_path / "out", None)
    try:
        (batch,) = read_batches(input_, Columns(label="p", probability="q", abstained="r"))
        (row,) = batch.unreadable
        said = row.reason
    except InputError as error:
        said = str(error)
    assert said.endswith(f"has a column {taken!r} already: choose another name with {option}")
