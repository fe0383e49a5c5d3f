import bz2
import codecs
import gzip
import io
import lzma
import os
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.full_disk import full_disk
from textfiles import MAX_LINE_BYTES, STANDARD_INPUT, Format, InputError, ReadOptions, Row, TextFile, Unreadable
from textfiles.command import Parser, add_read_options, read_options

Separated = tuple[list[str], list[Row[list[str]] | Unreadable]]


def _separated(path: Path, options: ReadOptions | None = None) -> Separated:
    table = TextFile(path, options or ReadOptions())
    with table.open() as file:
        columns, rows = table.separated(file)
        return columns, list(rows)


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_rows_after_one_that_cannot_be_read_are_read(tmp_path: Path) -> None:
    long = b"a" * (MAX_LINE_BYTES + 1)
    text = TextFile(_written(tmp_path / "a.txt.gz", gzip.compress(b"one\n" + long + b"\n\xff\nfour")))
    with text.open() as file:
        assert list(text.lines(file)) == [
            Row(1, "one\n"),
            Unreadable(2, "longer than 16,777,216 bytes"),
            Unreadable(3, "not UTF-8 (invalid start byte 0xff): name the encoding with --encoding"),
            Row(4, "four", looks_merged=False),
        ]
    table = b'a,b\n"1\n",2\n3\n"x"y,4\n"5\n\xff",6\n' + long + b'\n7,8\n9,"10\n'
    columns, rows = _separated(_written(tmp_path / "a.csv", table))
    assert columns == ["a", "b"]
    assert rows == [
        Row(2, ["1\n", "2"]),
        Unreadable(4, "1 column, but the first row has 2"),
        Unreadable(5, "text follows a closing quotation mark; double the marks inside a field, or use --quoting none"),
        Unreadable(
            7, "in the row of lines 6 to 7: not UTF-8 (invalid start byte 0xff): name the encoding with --encoding"
        ),
        Unreadable(8, "longer than 16,777,216 bytes"),
        Row(9, ["7", "8"]),
        Unreadable(10, "a quotation mark is opened here and never closed; double it, or use --quoting none"),
    ]
    objects = TextFile(_written(tmp_path / "a.ndjson", b'{"a": 1.50}\n\n[1]\n{"a"\n{"a": 12345678901234567890123}'))
    with objects.open() as file:
        found = list(objects.objects(file))
    assert [row.number for row in found] == [1, 3, 4, 5]
    assert [bytes(row.value["a"]) for row in found if isinstance(row, Row)] == [b"1.50", b"12345678901234567890123"]


def test_a_first_row_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.tsv: line 1: not UTF-8"):
        _separated(_written(tmp_path / "a.tsv", b"\xff\nb\n"))


@pytest.mark.parametrize(("excess", "is_row"), [(0, True), (1, False)])
def test_a_line_may_have_exactly_the_maximum_length(excess: int, is_row: bool, tmp_path: Path) -> None:
    line = b"a" * (MAX_LINE_BYTES - 1 + excess) + b"\n"
    text = TextFile(_written(tmp_path / "a.txt", line + b"b"))
    with text.open() as file:
        first, second = text.lines(file)
    assert isinstance(first, Row) is is_row
    assert second == Row(2, "b")


def test_a_long_line_that_ends_the_file_is_one_row(tmp_path: Path) -> None:
    text = TextFile(_written(tmp_path / "a.txt", b"a" * (2 * MAX_LINE_BYTES + 5)))
    with text.open() as file:
        assert [row.number for row in text.lines(file)] == [1]


@pytest.mark.parametrize(("excess", "is_row"), [(0, True), (1, False)])
def test_a_field_may_have_exactly_the_maximum_length(excess: int, is_row: bool, tmp_path: Path) -> None:
    half = b"a" * (MAX_LINE_BYTES // 2)
    field = half + b"\n" + half[1 - excess :]
    _, rows = _separated(_written(tmp_path / "a.csv", b'x\n"' + field + b'"\n'))
    assert isinstance(rows[0], Row) is is_row


def _zipped(content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.mkdir("folder")
        file.writestr("folder/rows.csv", content)
        file.writestr("__MACOSX/folder/._rows.csv", b"\0")
        file.writestr(".DS_Store", b"\0")
        file.writestr("folder/.rows.csv", b"\0")
    return archive.getvalue()


def _zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "a.csv": bytes,
    "a.csv.gz": gzip.compress,
    "a.csv.bz2": bz2.compress,
    "a.csv.xz": lzma.compress,
    "a.CSV.ZST": _zstd,
    "a.zip": _zipped,
}


@pytest.mark.parametrize("name", COMPRESSED)
def test_each_compression_is_read_as_a_stream(name: str, tmp_path: Path) -> None:
    random = Random(0)
    content = b"text,label\n" + b"".join(b"%s,%d\n" % (random.randbytes(30).hex().encode(), at) for at in range(10_000))
    table = TextFile(_written(tmp_path / name, COMPRESSED[name](content)))
    assert table.format is Format.CSV
    positions = []
    with table.open() as file:
        columns, rows = table.separated(file)
        assert columns == ["text", "label"]
        for row in rows:
            if row.number % 1000 == 0:
                positions.append(file.tell())
    assert isinstance(row, Row)
    assert (row.number, row.value[1]) == (10_001, "9999")
    assert positions == sorted(positions)
    assert 0 < positions[0] <= positions[-1] <= table.size() == (tmp_path / name).stat().st_size
    assert _separated(tmp_path / name) == _separated(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (name, damage)
        for name in COMPRESSED
        for damage in ("cut", "changed", "other", "empty")
        if name != "a.csv" and (name, damage) != ("a.CSV.ZST", "changed")  # without a checksum nothing shows it
    ],
)
def test_a_damaged_file_is_an_error_of_one_line(name: str, damage: str, tmp_path: Path) -> None:
    content = COMPRESSED[name](b"text,label\n" + b"".join(b"%d,%d\n" % (at * at, at) for at in range(9999)))
    damaged = {
        "cut": content[: len(content) // 2],
        "changed": content[:200] + bytes(64) + content[264:],
        "other": b"text,label\n",
        "empty": b"",
    }[damage]
    with pytest.raises(InputError) as error:
        _separated(_written(tmp_path / name, damaged))
    assert str(error.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv.bz2", "a.csv.xz", "a.zip"])
def test_the_error_of_a_file_that_is_cut_off_names_its_compression(name: str, tmp_path: Path) -> None:
    random = Random(0)
    content = COMPRESSED[name](b"text\n" + random.randbytes(1000).hex().encode() + b"\n")
    # The directory of a zip file is at its end.
    content = content[:100] + bytes(64) + content[164:] if name == "a.zip" else content[:-20]
    compression = {"gz": "gzip", "bz2": "bzip2", "xz": "xz", "zip": "zip"}[name.rpartition(".")[2]]
    with pytest.raises(InputError, match=rf"{name}: not a whole {compression} file \(.+\)$"):
        _separated(_written(tmp_path / name, content))


def test_a_file_that_cannot_be_opened_or_read_is_an_error_with_the_systems_reason(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.csv: No such file or directory$"):
        TextFile(tmp_path / "a.csv").size()
    with pytest.raises(InputError, match=r"a\.zip: No such file or directory$"):
        TextFile(tmp_path / "a.zip")
    with pytest.raises(InputError, match=r"^/proc/self/mem: Input/output error$"):
        _separated(Path("/proc/self/mem"), ReadOptions(format=Format.CSV))


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n\n"])
def test_a_table_without_rows_is_an_error(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.csv: is empty$"):
        _separated(_written(tmp_path / "a.csv", content))


def test_a_zip_file_holds_one_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(7):
            archive.writestr(f"{number}.csv", "text,label\n")
    with pytest.raises(InputError, match=r"holds 7 files \('0.csv', .* and 2 more\): a zip file of one file is read"):
        TextFile(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", "")
        archive.writestr("b.csv", "")
    with pytest.raises(InputError, match=r"two.zip: holds 2 files \('a.csv', 'b.csv'\): "):
        TextFile(tmp_path / "two.zip")
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.mkdir("folder")
    with pytest.raises(InputError, match=r"none.zip: holds no file: "):
        TextFile(tmp_path / "none.zip")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("a.pdf", "")
    with pytest.raises(InputError, match="the ending of the name has to say the format"):
        TextFile(tmp_path / "b.zip")


def test_an_encrypted_zip_file_is_an_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", "text,label\n")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    content[6] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.zip: is encrypted: unpack it$"):
        _separated(tmp_path / "a.zip")


@pytest.mark.parametrize(
    ("encoding", "mark", "given"),
    [
        ("utf-8", codecs.BOM_UTF8, None),
        ("utf-8", codecs.BOM_UTF8, "cp1252"),
        ("utf-16-le", codecs.BOM_UTF16_LE, None),
        ("utf-16-be", codecs.BOM_UTF16_BE, None),
        ("utf-16-le", b"", None),
        ("utf-16-be", b"", None),
        ("utf-16-le", b"", "UTF-16"),
        ("utf-32-le", codecs.BOM_UTF32_LE, None),
        ("shift_jis", b"", "Shift_JIS"),
        ("gb18030", b"", "gb18030"),
    ],
)
def test_encodings_are_recognized_or_named(encoding: str, mark: bytes, given: str | None, tmp_path: Path) -> None:
    text = "text\r\n" + "日本語 テスト\r\n" * 5000 + "end"
    path = _written(tmp_path / "a.tsv", mark + text.encode(encoding))
    columns, rows = _separated(path, ReadOptions(encoding=given))
    assert columns == ["text"]
    assert rows[4999:] == [Row(5001, ["日本語 テスト"]), Row(5002, ["end"])]


def test_rows_that_are_not_of_the_encoding_are_unreadable_and_others_read(tmp_path: Path) -> None:
    utf16 = "text\nà\n".encode("utf-16-le") + b"\x00\xd8" + "\nb\n".encode("utf-16-le") + b"c"
    _, rows = _separated(_written(tmp_path / "a.csv", utf16))
    assert rows == [
        Row(2, ["à"]),
        Unreadable(3, "not utf-16-le: name the encoding with --encoding"),
        Row(4, ["b"]),
        Unreadable(5, "not utf-16-le: name the encoding with --encoding"),
    ]
    path = _written(tmp_path / "b.csv", "text\nnaïve\nplain\n".encode("cp1252"))
    assert _separated(path, ReadOptions(encoding="cp1252"))[1] == [Row(2, ["naïve"]), Row(3, ["plain"])]
    assert _separated(path, ReadOptions(encoding="ascii"))[1] == [
        Unreadable(2, "not ascii: name the encoding with --encoding"),
        Row(3, ["plain"]),
    ]


@pytest.mark.parametrize("name", ["latin-2000", "rot13", "base64", "", "a\0b"])
def test_an_unknown_encoding_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"--encoding: .* is no encoding"):
        ReadOptions(encoding=name)


@pytest.mark.parametrize("delimiter", ["", ";;", '"', "\n", "\r"])
def test_a_delimiter_is_one_character(delimiter: str) -> None:
    with pytest.raises(InputError, match=r"--delimiter: .* is not one character"):
        ReadOptions(delimiter=delimiter)


@pytest.mark.parametrize(
    ("name", "delimiter", "separator"),
    [("a.csv", None, ","), ("a.tsv", None, "\t"), ("a.csv", ";", ";"), ("a.csv", "\t", "\t"), ("a.tsv", "·", "·")],
)
def test_the_delimiter_is_the_option_or_that_of_the_format(
    name: str, delimiter: str | None, separator: str, tmp_path: Path
) -> None:
    path = _written(tmp_path / name, f"text{separator}label\na b{separator}c".encode())
    assert _separated(path, ReadOptions(delimiter=delimiter)) == (["text", "label"], [Row(2, ["a b", "c"])])


@pytest.mark.parametrize(
    ("name", "header", "hint"),
    [
        ("a.csv", "id;text;label", "the fields seem to be separated by ';': give --delimiter ';'"),
        ("a.csv", 'id;"text";label', "give --delimiter ';'"),
        ("a.csv", "id\ttext\tlabel", "give --delimiter tab"),
        ("a.csv", "id|body|label", "give --delimiter '|'"),
        ("a.csv", "id|body", "give --delimiter '|'"),
        ("a.csv", "id; text ;label, x", "give --delimiter ';'"),
        ("a.csv", "id,text,text", "more than one column 'text': its columns are 'id', 'text', 'text'$"),
        ("a.csv", "a, b;text;c", "give --delimiter ';'"),
        ("a.tsv", "id,text,label", "give --delimiter ','"),
        (
            "a.csv",
            "id,body,label",
            "its columns are 'id', 'body', 'label': name it with --text-column, or give --no-header",
        ),
        ("a.csv", "body", "its columns are 'body': name it with --text-column, or give --no-header if these are data$"),
        ("a.csv", "BODY X LABEL", "its columns are 'BODY X LABEL': name it with"),
        ("a.csv", ",".join(map(str, range(22))), "'19' and 2 more: name it with"),
        ("a.csv", "Text,label", "'Text', 'label': give --text-column 'Text'$"),
        ("a.csv", "label, TEXT ", ": give --text-column ' TEXT '$"),
    ],
)
def test_a_missing_column_hints_at_another_delimiter(name: str, header: str, hint: str, tmp_path: Path) -> None:
    table = TextFile(_written(tmp_path / name, header.encode()))
    with table.open() as file, pytest.raises(InputError, match=hint):
        table.column("text", table.separated(file)[0])


def test_a_column_in_another_unicode_form_is_to_be_copied(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "본문")
    table = TextFile(_written(tmp_path / "a.csv", f"{decomposed},label\n".encode()))
    with table.open() as file, pytest.raises(InputError, match=f"give --text-column {decomposed!r} .copy it: it looks"):
        table.column("본문", table.separated(file)[0])


def test_quotation_marks_are_text_without_quoting(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.tsv", b'text\tlabel\n5" nails\ta\n"open\tb\nlast "one"\tc\n')
    assert _separated(path, ReadOptions(quoting=False))[1] == [
        Row(2, ['5" nails', "a"]),
        Row(3, ['"open', "b"]),
        Row(4, ['last "one"', "c"]),
    ]


@pytest.mark.parametrize(
    ("lines", "looks_merged"),
    [
        (["text\tlabel"] * 12, True),
        (["text\tlabel"] * 9, True),
        (["text\tlabel"] * 8, False),  # too few to tell
        (["text\tlabel"] * 9 + ["text"], True),
        (["text\tlabel"] * 9 + ["text"] * 2, False),
        (["a line of prose, with commas"] * 40, False),
        (["a\tb\tc"] * 40, False),
    ],
)
def test_a_row_whose_lines_look_like_rows_is_marked(lines: list[str], looks_merged: bool, tmp_path: Path) -> None:
    content = "\n".join(["text\tlabel", '"first\tlabel', *lines, 'last"\tlabel', "next\tlabel"])
    _, rows = _separated(_written(tmp_path / "a.tsv", content.encode()))
    assert [row.looks_merged for row in rows if isinstance(row, Row)] == [looks_merged, False]


def test_two_fields_of_few_lines_each_are_not_marked(tmp_path: Path) -> None:
    first, second = "\n".join(["text\tlabel"] * 10), "text\nlabel"  # 9 line breaks, and 1
    _, rows = _separated(_written(tmp_path / "a.tsv", f'text\tlabel\n"{first}"\t"{second}"\n'.encode()))
    assert rows == [Row(2, [first, second], looks_merged=False)]


def test_long_texts_of_a_file_with_one_column_are_not_marked(tmp_path: Path) -> None:
    text = "\n".join(["a line without a comma"] * 40)
    _, rows = _separated(_written(tmp_path / "a.csv", f'text\n"{text}"\n'.encode()))
    assert rows == [Row(2, [text], looks_merged=False)]


def test_a_file_without_a_header_has_its_first_row_and_numbers_as_columns(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.csv", b"good,yes\nbad,no\nodd\n")
    columns, rows = _separated(path, ReadOptions(header=False))
    assert columns == ["1", "2"]
    assert rows == [Row(1, ["good", "yes"]), Row(2, ["bad", "no"]), Unreadable(3, "1 column, but the first row has 2")]
    table = TextFile(path, ReadOptions(header=False))
    with pytest.raises(InputError, match="without a header, the name of a column is its number"):
        table.column("text", columns)


def test_a_file_whose_lines_end_with_a_carriage_return_says_how_to_convert_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 1: .*, replace each by a newline, as tr '\\r' '\\n' does"):
        _separated(_written(tmp_path / "a.csv", b"text,label\ra,b\r"))


def test_excel_s_line_that_names_the_separator_is_named(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.csv", b"sep=;\r\ntext,label\r\n")
    columns, _ = _separated(path)
    with pytest.raises(InputError, match="the first line names the separator for Excel: remove this line"):
        TextFile(path).column("text", columns)


@pytest.mark.parametrize(
    ("content", "number", "reason"),
    [
        (b'a\nb "c\nd\n', None, ""),
        (b"a\nb\rc\n", 2, "a carriage return stands outside quotation marks; if the lines end with it alone"),
        (b'a\n"b\n', 2, "a quotation mark is opened here and never closed"),
        (b'a\n"b"c\n', 2, "text follows a closing quotation mark"),
    ],
)
def test_a_malformed_row_has_a_reason(content: bytes, number: int | None, reason: str, tmp_path: Path) -> None:
    _, rows = _separated(_written(tmp_path / "a.csv", content))
    wrong = [row for row in rows if isinstance(row, Unreadable)]
    assert [row.number for row in wrong] == ([number] if number else [])
    assert all(row.reason.startswith(reason) for row in wrong)


class _Stdin:
    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


def test_standard_input_is_read_as_often_as_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", _Stdin(b"text\na\nb\n"))
    with pytest.raises(InputError, match="standard input: name its format with --input-format"):
        TextFile(STANDARD_INPUT)
    table = TextFile(STANDARD_INPUT, ReadOptions(format=Format.CSV))
    assert table.size() == 9
    for _ in range(2):
        with table.open() as file:
            columns, rows = table.separated(file)
            assert (columns, list(rows)) == (["text"], [Row(2, ["a"]), Row(3, ["b"])])
    assert table.where(2) == "standard input: line 2"


def test_a_path_that_is_not_utf_8_is_an_error(tmp_path: Path) -> None:
    assert TextFile(tmp_path / "café.csv").format is Format.CSV
    path = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.csv"))
    path.write_text("text\n")
    with pytest.raises(InputError, match="the path is not UTF-8: rename the file or its folder"):
        TextFile(path)


def test_a_closed_standard_input_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    table = TextFile(STANDARD_INPUT, ReadOptions(format=Format.CSV))
    with pytest.raises(InputError, match="standard input is closed: give a file"):
        table.size()


def test_a_full_disk_for_the_copy_of_standard_input_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"text\n" * 1000)))
    table = TextFile(STANDARD_INPUT, ReadOptions(format=Format.CSV))
    with pytest.raises(InputError, match=r"^cannot write temporary files to .*: .*TMPDIR$"), full_disk(99):
        table.size()


def test_a_dash_is_standard_input() -> None:
    assert Path("-") == STANDARD_INPUT


def test_a_row_is_named_by_its_line_or_in_parquet_by_its_row(tmp_path: Path) -> None:
    for name, unit in (("a.csv", "line"), ("a.jsonl", "line"), ("a.txt", "line"), ("a.parquet", "row")):
        table = TextFile(tmp_path / name)
        assert table.where(3) == f"{tmp_path / name}: {unit} 3"
        reason = table.reason(Unreadable(3, "is odd"))
        assert reason == f'{{"file":"{tmp_path / name}","{unit}":3,"reason":"is odd"}}\n'.encode()


def test_a_compressed_parquet_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.parquet\.gz: the ending of the name has to say the format"):
        TextFile(tmp_path / "a.parquet.gz")


def test_columns_of_parquet_are_read_by_name(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"text": ["a"], "label": ["b"], "more": ["c"]}), tmp_path / "a.parquet")
    table = TextFile(tmp_path / "a.parquet")
    with table.open() as file:
        schema, batches = table.record_batches(file, 10, ["label"])
        assert schema.names == ["text", "label", "more"]
        assert [batch.to_pydict() for batch in batches] == [{"label": ["b"]}]


def test_parquet_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    table = TextFile(_written(tmp_path / "a.parquet", content[:-4]))
    with pytest.raises(InputError, match=r"a\.parquet: not a whole Parquet file \(.+\)$"), table.open() as file:
        table.record_batches(file, 10)


def test_parquet_can_come_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    parquet.write_table(pa.table({"text": ["a", "b"]}), content)
    monkeypatch.setattr("sys.stdin", _Stdin(content.getvalue()))
    table = TextFile(STANDARD_INPUT, ReadOptions(format=Format.PARQUET))
    for _ in range(2):
        with table.open() as file:
            _, batches = table.record_batches(file, 10)
            assert [batch.to_pydict() for batch in batches] == [{"text": ["a", "b"]}]


def test_the_option_says_the_format_before_the_name_does(tmp_path: Path) -> None:
    path = _written(tmp_path / "rows.dat.gz", gzip.compress(b"text\tlabel\n"))
    with pytest.raises(InputError, match="the ending of the name"):
        TextFile(path)
    assert _separated(path, ReadOptions(format=Format.TSV))[0] == ["text", "label"]


@pytest.mark.parametrize(
    "options",
    [
        ReadOptions(),
        ReadOptions(format=Format.TSV, encoding="cp1252", delimiter="\t", quoting=False, header=False),
        ReadOptions(delimiter=";"),
    ],
)
def test_the_arguments_of_options_give_the_options(options: ReadOptions) -> None:
    parser = Parser("test")
    add_read_options(parser)
    assert read_options(vars(parser.parse_args(options.arguments()))) == options


def test_options_are_given_by_as_few_arguments_as_they_need() -> None:
    assert ReadOptions().arguments() == []
    every = ReadOptions(format=Format.TSV, encoding="cp1252", delimiter="\t", quoting=False, header=False)
    assert every.arguments() == [
        *("--input-format", "tsv", "--encoding", "cp1252", "--delimiter", "tab"),
        *("--quoting", "none", "--no-header"),
    ]
    assert ReadOptions(delimiter=";").arguments() == ["--delimiter", ";"]


_NOT_CLOSED = "a quotation mark is opened here and never closed; double it, or use --quoting none"


@pytest.mark.parametrize(
    "last",
    [
        'a 5" nail\tx',  # text follows the mark that closes
        'nail\tx"',  # the row has one column
        'nail"\tx\ty',  # the row has three columns
        "nail\tx",  # never closed
        'nail \udcff"\tx',  # a valid row, but for its encoding
    ],
)
@pytest.mark.parametrize("count", [3, 50])
def test_rows_behind_an_open_quotation_mark_are_read(last: str, count: int, tmp_path: Path) -> None:
    lines = ["text\tlabel", "first\tx", '"open\tx', *["text\tlabel"] * count, last]
    path = _written(tmp_path / "a.tsv", "\n".join(lines).encode(errors="surrogateescape"))
    _, rows = _separated(path)
    assert rows[:2] == [Row(2, ["first", "x"]), Unreadable(3, _NOT_CLOSED)]
    assert rows[2 : count + 2] == [Row(4 + at, ["text", "label"]) for at in range(count)]
    assert [row.number for row in rows[count + 2 :]] == [count + 4]


def test_many_open_quotation_marks_cost_a_row_each(tmp_path: Path) -> None:
    block = ['"open\tx', *["text\tlabel"] * 9]
    path = _written(tmp_path / "a.tsv", "\n".join(["text\tlabel", *block * 2000]).encode())
    _, rows = _separated(path)
    assert [row.number for row in rows] == list(range(2, 20_002))
    assert sum(isinstance(row, Row) for row in rows) == 18_000


def test_a_bad_row_whose_lines_are_prose_states_them_and_stays_one(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.tsv", b'text\tlabel\n"a\nb\nc\nd\ne "f"\tx\nlast\ty\n')
    reason = "text follows a closing quotation mark; double the marks inside a field, or use --quoting none"
    assert _separated(path)[1] == [Unreadable(2, f"in the row of lines 2 to 6: {reason}"), Row(7, ["last", "y"])]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"é": 1, "a": NaN}', "NaN is not JSON"),
        ('{"a": [1, -Infinity]}', "Infinity is not JSON"),
        ('{"a":Infinity}', "Infinity is not JSON"),
        ('{"a": nope, "b": "NaN"}', "JSON is malformed"),
        ('{"a": "NaN", "b": nope}', "JSON is malformed"),
    ],
)
def test_numbers_that_json_lacks_are_named(line: str, reason: str, tmp_path: Path) -> None:
    text = TextFile(_written(tmp_path / "a.jsonl", line.encode()))
    with text.open() as file:
        (row,) = text.objects(file)
    assert isinstance(row, Unreadable)
    assert row.reason.startswith(reason)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_that_nothing_marks_is_named_by_its_zero_bytes(encoding: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not UTF-8 .* zero bytes are a sign of utf-16-le or utf-16-be: name"):
        _separated(_written(tmp_path / "a.csv", "本文,種類\r\n良い,x\r\n".encode(encoding)))


def test_a_missing_column_hints_at_a_wrong_encoding(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.csv", "café,label\n".encode())
    table = TextFile(path, ReadOptions(encoding="cp1252"))
    with table.open() as file, pytest.raises(InputError, match="look wrong, the encoding is not cp1252: correct"):
        table.column("café", table.separated(file)[0])
