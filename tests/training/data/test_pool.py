"""Files of texts without labels, in every format."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from textfiles import InputError, Unreadable
from training.data.bad_rows import BadRows
from training.data.pool import PoolFile, pool_texts


def written(path: Path) -> Path:
    """Writes a pool of `a` and `b, "c"`, with a blank text between them, in the format of the name."""
    texts = ["a", " ", 'b, "c"']
    if path.suffix == ".parquet":
        parquet.write_table(pa.table({"n": [1, 2, 3, 4], "body": [*texts, None]}), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"n": 1, "body": text}) + "\n" for text in [*texts, None]))
    elif path.suffix == ".csv":
        path.write_text('n,body\n1,a\n2, \n3,"b, ""c"""\n4,\n')
    else:
        path.write_bytes(gzip.compress("\r\n".join([*texts, ""]).encode()))
    return path


@pytest.mark.parametrize(
    ("name", "numbers"), [("a.parquet", [1, 3]), ("a.jsonl", [1, 3]), ("a.csv", [2, 4]), ("a.txt.gz", [1, 3])]
)
def test_texts_that_are_not_blank_come_with_their_places(name: str, numbers: list[int], tmp_path: Path) -> None:
    file = PoolFile(written(tmp_path / name), "body")
    texts = list(pool_texts([file], BadRows()))
    assert [(each.text, each.number) for each in texts] == list(zip(["a", 'b, "c"'], numbers, strict=True))
    assert all(each.file is file for each in texts)


def test_plain_text_keeps_all_but_its_line_ends(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("  a X \r\nX\r\nb\t")
    assert [each.text for each in pool_texts([PoolFile(tmp_path / "a.txt")], BadRows())] == ["  a X ", "X", "b\t"]


def test_rows_that_cannot_be_used_come_with_their_reason(tmp_path: Path) -> None:
    keys = {f"k{number:02}": 1 for number in range(21)}
    lines = ['{"text": "a"}', '{"text": 1}', json.dumps(keys), "{", '{"text": "b"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    found = list(PoolFile(tmp_path / "a.jsonl").texts())
    wrong = {each.number: each.reason for each in found if isinstance(each, Unreadable)}
    assert list(wrong) == [2, 3, 4]
    assert wrong[2] == "'text' holds a value of type int, no string"
    assert wrong[3].startswith("no key 'text': its keys are 'k00', ")
    assert wrong[3].endswith("'k19' and 1 more")
    bad_rows = BadRows()
    assert [each.text for each in pool_texts([PoolFile(tmp_path / "a.jsonl")], bad_rows)] == ["a", "b"]
    assert bad_rows.count == 3


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.parquet"])
def test_a_text_in_another_encoding_is_a_bad_row_and_the_others_are_read(name: str, tmp_path: Path) -> None:
    if name == "a.parquet":
        invalid = pa.Array.from_buffers(pa.string(), 3, pa.array([b"text", b"\xff", b"b"]).buffers())
        parquet.write_table(pa.table({"text": invalid}), tmp_path / name)
    else:
        (tmp_path / name).write_bytes(b"text\n\xff\nb\n")
    found = list(PoolFile(tmp_path / name).texts())
    (wrong,) = (each for each in found if isinstance(each, Unreadable))
    assert (wrong.number, wrong.reason[:9]) == (2, "not UTF-8")
    assert found[-1][0] == "b"


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_file_without_the_column_is_an_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no column 'text': its columns are 'n', 'body': name it with --text-column"):
        list(pool_texts([PoolFile(written(tmp_path / name))], BadRows()))


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_a_column_in_another_spelling_is_named_with_its_option(name: str, tmp_path: Path) -> None:
    file = PoolFile(written(tmp_path / name), "Body")
    if name == "a.jsonl":
        file.path.write_text('{"n": 1, "body": "a"}\n')
    hint = "no (column|key) 'Body': .* 'n', 'body': give --text-column 'body'"
    with pytest.raises(InputError, match=hint), BadRows() as bad_rows:
        list(pool_texts([file], bad_rows))


def test_a_number_out_of_range_is_a_bad_row_and_the_next_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": 1e999}\n{"text": "good"}\n')
    first, second = PoolFile(tmp_path / "a.jsonl").texts()
    assert first == Unreadable(1, "'text': Number out of range")
    assert not isinstance(second, Unreadable)
    assert (second.text, second.number) == ("good", 2)
