from pathlib import Path

import pytest

from bulk.chunks import loaded
from bulk.encoding import LINE
from bulk.jobs import Columns, jobs
from bulk.reading import chunks
from textfiles import Format


@pytest.mark.parametrize(
    ("format_", "rows"),
    [
        (None, [{"line": "a", LINE: '{"line":"a","n":1e999}'}, {"line": "b", LINE: '{"n":null,"line":"b"}'}]),
        (Format.CSV, [{"line": "a", "n": "1e999"}, {"line": "b", "n": None}]),
    ],
)
def test_json_beside_the_text_stays_as_it_is_written(
    format_: Format | None, rows: list[dict[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "a.jsonl").write_text('{"line": "a", "n": 1e999}\n{"n": null, "line": "b"}\n{"line": "\\ud800"}\n')
    (job,) = jobs([tmp_path / "a.jsonl"], tmp_path / "out", format_)
    first, last = chunks(0, job, Columns(text="line"))
    assert loaded(first.data).to_pylist() == rows
    assert (first.rejected, last.is_last) == (1, True)
