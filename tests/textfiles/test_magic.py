import bz2
import gzip
import io
import lzma
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from textfiles import Format, InputError, ReadOptions, TextFile

TABLE = pa.table({"text": ["a"], "label": ["b"]})


def _zip(member: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(member, b"text,label\na,b\n")
    return content.getvalue()


def _written(write: Callable[[pa.Table, io.BytesIO], None], table: pa.Table = TABLE) -> bytes:
    content = io.BytesIO()
    write(table, content)
    return content.getvalue()


def _sqlite() -> bytes:
    with sqlite3.connect(":memory:") as database:
        database.execute("create table texts (text)")
        return database.serialize()


KINDS = [
    (gzip.compress(b"text\na\n"), "is a gzip file (by its first bytes), not text: rename it to a.csv.gz"),
    (bz2.compress(b"text\na\n"), "is a bzip2 file (by its first bytes), not text: rename it to a.csv.bz2"),
    (lzma.compress(b"text\na\n"), "is an xz file (by its first bytes), not text: rename it to a.csv.xz"),
    (
        pa.compress(b"text\na\n", "zstd", asbytes=True),
        "is a zstd file (by its first bytes), not text: rename it to a.csv.zst",
    ),
    (_zip("a.csv"), "is a zip file (by its first bytes), not text: rename it to a.csv.zip"),
    (
        _zip("xl/workbook.xml"),
        "is an Excel workbook or another office file (by its first bytes), not text: save the sheet",
    ),
    (_written(parquet.write_table), "is a Parquet file (by its first bytes), not text: rename it to a.parquet"),
    (_written(parquet.write_table, TABLE[:0]), "is a Parquet file"),
    (_written(feather.write_feather), "is an Arrow or Feather file"),
    (_sqlite(), "is an SQLite database"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504), "is an Excel workbook of the old format (.xls)"),
]


@pytest.mark.parametrize(("content", "message"), KINDS)
@pytest.mark.parametrize("encoding", [None, "cp1252"])
def test_a_file_under_a_wrong_name_is_named_by_its_first_bytes(
    content: bytes, message: str, encoding: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        _read(TextFile(path, ReadOptions(encoding=encoding)))
    assert str(error.value).startswith(f"{path}: {message}")


def _read(file: TextFile) -> list[object]:
    with file.open() as source:
        return list(file.lines(source))


def test_a_new_name_is_advised_only_where_it_helps(tmp_path: Path) -> None:
    twice = tmp_path / "a.csv.gz"
    twice.write_bytes(gzip.compress(gzip.compress(b"text\n")))
    with pytest.raises(InputError, match=r"is a gzip file .*: decompress it$"):
        _read(TextFile(twice))
    twice.write_bytes(gzip.compress(b"text\n"))
    assert len(_read(TextFile(twice))) == 1
    plain = tmp_path / "a.csv"
    plain.write_bytes(_zip("a.csv"))
    with pytest.raises(InputError, match=r"is a zip file .*: unpack it$"):
        _read(TextFile(plain, ReadOptions(format=Format.CSV)))


@pytest.mark.parametrize("text", ["PAR1,PAR2\n", "BZh9 is a start\n", "PK\n", "SQLite format 3 is old\n", "7z\n"])
def test_text_that_begins_like_a_signature_is_text(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text)
    assert len(_read(TextFile(path))) == 1
