import gzip
from pathlib import Path

import pytest

from textfiles import LONGEST, InputError, Row, TextFile, Unreadable
from textfiles.text_file import Format


def test_rows_after_one_that_cannot_be_read_are_read(tmp_path: Path) -> None:
    long = b"a" * (LONGEST + 1)
    text = TextFile(tmp_path / "a.txt.gz")
    text.path.write_bytes(gzip.compress(b"one\n" + long + b"\n\xff\nfour"))
    with text.open() as file:
        assert list(text.lines(file)) == [
            Row(1, "one\n"),
            Unreadable(2, "longer than 16,777,216 bytes"),
            Unreadable(3, "not UTF-8 (invalid start byte 0xff)"),
            Row(4, "four"),
        ]
    table = TextFile(tmp_path / "a.csv")
    table.path.write_bytes(b'a,b\n"1\n",2\n3\n"x"y,4\n"5\n\xff",6\n' + long + b'\n7,8\n9,"10\n')
    with table.open() as file:
        columns, rows = table.separated(file)
        assert columns == ["a", "b"]
        assert list(rows) == [
            Row(2, ["1\n", "2"]),
            Unreadable(4, "1 columns, but the first row names 2"),
            Unreadable(5, "',' expected after '\"'"),
            Unreadable(7, "not UTF-8 (invalid start byte 0xff)"),
            Unreadable(8, "longer than 16,777,216 bytes"),
            Row(9, ["7", "8"]),
            Unreadable(10, "unexpected end of data"),
        ]
    objects = TextFile(tmp_path / "a.ndjson")
    objects.path.write_bytes(b'{"a": 1.50}\n\n[1]\n{"a"\n{"a": 12345678901234567890123}')
    with objects.open() as file:
        found = list(objects.objects(file))
    assert [row.number for row in found] == [1, 3, 4, 5]
    assert [bytes(row.value["a"]) for row in found if isinstance(row, Row)] == [b"1.50", b"12345678901234567890123"]


def test_a_first_row_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    table = TextFile(tmp_path / "a.tsv")
    assert table.format is Format.TSV
    table.path.write_bytes(b"\xff\nb\n")
    with table.open() as file, pytest.raises(InputError, match=r"a\.tsv: line 1: not UTF-8"):
        table.separated(file)
