from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from textfiles.parquet import open_parquet, record_batches


def _batches(path: Path, texts: list[str], rows: int, **options: object) -> list[pa.RecordBatch]:
    parquet.write_table(pa.table({"text": texts}, pa.schema([("text", pa.string())])), path, **options)
    with path.open("rb") as file:
        batches = list(record_batches(open_parquet(file), rows))
    assert [text for batch in batches for text in batch.column(0).to_pylist()] == texts
    return batches


@pytest.mark.parametrize(
    ("rows", "lengths"),
    [(1, [128, 128, 44]), (128, [128, 128, 44]), (129, [256, 44]), (256, [256, 44]), (300, [300]), (1000, [300])],
)
def test_a_batch_has_the_rows_that_are_asked_for_and_at_most_127_more(
    rows: int, lengths: list[int], tmp_path: Path
) -> None:
    batches = _batches(tmp_path / "a.parquet", [str(number) for number in range(300)], rows)
    assert [len(batch) for batch in batches] == lengths


def test_small_row_groups_make_one_batch(tmp_path: Path) -> None:
    texts = [str(number) for number in range(90)]
    assert [len(batch) for batch in _batches(tmp_path / "a.parquet", texts, 50, row_group_size=20)] == [60, 30]


@pytest.mark.parametrize(("length", "lengths"), [(1 << 18, [6, 3]), (1 << 20, [1] * 9), (1 << 21, [1] * 9)])
def test_a_batch_of_large_rows_has_fewer(length: int, lengths: list[int], tmp_path: Path) -> None:
    texts = [str(number) * length for number in range(1, 10)]
    batches = _batches(tmp_path / "a.parquet", texts, 128, compression="none", use_dictionary=False)
    assert [len(batch) for batch in batches] == lengths


def test_a_table_without_rows_has_no_batch(tmp_path: Path) -> None:
    assert _batches(tmp_path / "a.parquet", [], 10) == []
