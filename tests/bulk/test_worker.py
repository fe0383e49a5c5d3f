"""What a worker tells the driver of a file."""

from pathlib import Path

from bulk.inputs import Columns, find_inputs
from bulk.worker import FileClassifier


def test_rows_of_another_encoding_are_counted_among_the_rejected(tiny_models: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b"text,n\nfilm,1\n\xe9,2\n\xe8,3\nfilm\n")
    inputs = find_inputs([tmp_path / "in.csv"], tmp_path / "out", None)
    first, last = FileClassifier(tiny_models / "topic" / "1", inputs, Columns()).classify_file(0)
    assert (first.rows, first.rejected, first.misencoded) == (1, 3, 2)
    assert last.is_last


def test_a_missing_column_is_the_error_of_the_file(tiny_models: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("body\nfilm\n")
    inputs = find_inputs([tmp_path / "in.csv"], tmp_path / "out", None)
    (only,) = FileClassifier(tiny_models / "topic" / "1", inputs, Columns()).classify_file(0)
    assert only.is_last
    assert "in.csv: no column 'text': its columns are 'body'" in only.error
