from pathlib import Path

from textfiles import Unreadable
from training.data.pool import PoolFile


def test_a_number_out_of_range_is_a_bad_row_and_the_next_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": 1e999}\n{"text": "good"}\n')
    first, second = PoolFile(tmp_path / "a.jsonl").texts()
    assert first == Unreadable(1, "'text': Number out of range")
    assert not isinstance(second, Unreadable)
    assert (second.text, second.number) == ("good", 2)
