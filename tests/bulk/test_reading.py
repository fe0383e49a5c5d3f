from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from bulk.inputs import Columns, jobs
from bulk.reading import parts
from textfiles import Format

OBJECTS = b'{"line": "a", "n": 1e999}\n{"n": null, "line": "b"}\n{"line": "\\ud800"}\n'


def test_json_beside_the_text_stays_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(OBJECTS)
    (job,) = jobs([tmp_path / "a.jsonl"], tmp_path / "out", None)
    (part,) = parts(job, Columns(text="line"))
    assert part.texts == ["a", "b"]
    assert part.rows == [b'{"line":"a","n":1e999}', b'{"n":null,"line":"b"}']
    assert [row.number for row in part.unreadable] == [3]


@pytest.mark.parametrize("format_", [Format.CSV, Format.PARQUET])
def test_json_becomes_columns_of_strings(format_: Format, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(OBJECTS)
    (job,) = jobs([tmp_path / "a.jsonl"], tmp_path / "out", format_)
    (part,) = parts(job, Columns(text="line"))
    assert not isinstance(part.rows, list)
    assert part.rows.to_pylist() == [{"line": "a", "n": "1e999"}, {"line": "b", "n": None}]
    assert part.texts == ["a", "b"]
    assert [row.number for row in part.unreadable] == [3]


@pytest.mark.parametrize(
    ("texts", "most"),
    [
        ([str(number) * 500_000 for number in range(10, 70)], 2),
        (["a long film" * 40_000] * 500, 128),  # the file holds it once
    ],
)
def test_few_large_rows_of_parquet_are_in_memory_together(texts: list[str], most: int, tmp_path: Path) -> None:
    parquet.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    (job,) = jobs([tmp_path / "a.parquet"], tmp_path / "out", None)
    found = [part.texts for part in parts(job, Columns())]
    assert max(map(len, found)) <= most
    assert [text for part in found for text in part] == texts
