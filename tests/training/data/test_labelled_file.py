import gzip
import tracemalloc
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from textfiles import MAX_LINE_BYTES, InputError
from training.data.bad_rows import BadRows
from training.data.labelled_file import LabelledFile, LabelledFiles, LabelledText, TrainingFiles
from training.data.soft_labels import SoftColumns

ROWS = [
    LabelledText("A good film, really", "positive", 0),
    LabelledText("café 😀\nsecond line", "negative", 0),
    LabelledText("", "3", 0),
]
"""What each of `FILES` holds, without the numbers of the lines."""

JSON = '{"label": "positive", "body": "A good film, really"}\n{"body": "café 😀\\nsecond line", "label": "negative"}\n'


def _parquet(path: Path, columns: dict[str, Any]) -> None:
    parquet.write_table(pa.table(columns), path)


def _texts(lines: str) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        content = lines.encode()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)

    return write


def _table(path: Path) -> None:
    _parquet(path, {"id": [1, 2, 3], "label": [row.label for row in ROWS], "body": [row.text for row in ROWS]})


CSV = 'id,body,label\n1,"A good film, really",positive\n2,"café 😀\nsecond line", negative \n\n3,,3\n'
TSV = 'id\tbody\tlabel\n1\tA good film, really\tpositive\n2\t"café 😀\nsecond line"\tnegative\n3\t""\t3\n'
LINE = b"a" * 4095 + b"\n"
FILES: dict[str, tuple[Callable[[Path], object], list[int]]] = {
    "a.csv": (_texts(CSV), [2, 3, 6]),
    "a.b.CSV.gz": (_texts(CSV), [2, 3, 6]),
    "a.tsv": (_texts(TSV), [2, 3, 5]),
    "a.tsv.gz": (_texts(TSV), [2, 3, 5]),
    "a.jsonl": (_texts(JSON + '\n{"body": "", "label": 3, "more": [{}]}'), [1, 2, 4]),
    "a.ndjson.gz": (_texts(JSON + '{"body": "", "label": 3}\n'), [1, 2, 3]),
    "a.parquet": (_table, [1, 2, 3]),
}


def _read(path: Path) -> list[LabelledText]:
    with BadRows() as bad_rows:
        return [row for _, row in LabelledFiles([LabelledFile(path, "body", "label")]).rows(bad_rows)]


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_texts_labels_and_the_line_that_a_row_starts_on(name: str, tmp_path: Path) -> None:
    write, numbers = FILES[name]
    write(tmp_path / name)
    found = [(row.text, row.label, row.number) for row in _read(tmp_path / name)]
    assert found == [(row.text, row.label, at) for row, at in zip(ROWS, numbers, strict=True)]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.csv.gz"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_byte_order_mark_and_the_line_ends_of_windows_are_no_part_of_the_data(
    name: str, end: str, tmp_path: Path
) -> None:
    separator = "\t" if "tsv" in name else ","
    lines = [f"body{separator}label", f"good{separator}yes"]
    lines = ['{"body": "good", "label": "yes"}'] if "json" in name else lines
    _texts("\ufeff" + end.join([*lines, ""]))(tmp_path / name)
    assert _read(tmp_path / name) == [LabelledText("good", "yes", len(lines))]


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([1, -2], ["1", "-2"]),
        ([1.5, -2.0], ["1.5", "-2"]),
        ([0.0, -0.0], ["0", "0"]),
        ([1e20, 1e-7], ["100000000000000000000", "1e-07"]),
        (pa.array([Decimal("1.50"), Decimal("-20.00")]), ["1.5", "-20"]),
        ([True, False], ["true", "false"]),
        (pa.array(["a", "b"], pa.large_string()), ["a", "b"]),
        (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
    ],
)
def test_labels_that_are_no_strings_become_their_text(values: Any, labels: list[str], tmp_path: Path) -> None:
    _parquet(tmp_path / "a.parquet", {"body": ["x", "y"], "label": values})
    assert [row.label for row in _read(tmp_path / "a.parquet")] == labels
    if isinstance(values, list):
        lines = [f'{{"body": "x", "label": {value!r}}}'.replace("T", "t").replace("F", "f") for value in values]
        _texts("\n".join(lines))(tmp_path / "a.jsonl")
        assert [row.label for row in _read(tmp_path / "a.jsonl")] == labels


def _bytes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _columns(**columns: Any) -> Callable[[Path], object]:
    return lambda path: _parquet(path, columns)


_INVALID = pa.Array.from_buffers(pa.string(), 2, pa.array([b"ok", b"\xff"]).buffers())


@pytest.mark.parametrize(
    ("name", "write", "says"),
    [
        ("a.xls", _bytes(b""), r"a\.xls: the ending .* CSV \(\.csv\), TSV .* Parquet \(\.parquet\), .* are read"),
        ("a.txt", _bytes(b""), r"a\.txt: plain text has no labels: CSV .* are read"),
        ("a", _bytes(b""), "the ending"),
        ("a.gz", _bytes(b""), "the ending"),
        ("a.parquet.gz", _bytes(b""), "the ending"),
        ("a.csv", lambda path: None, "a.csv: No such file"),
        ("a.csv", lambda path: path.mkdir(), "a.csv: Is a directory"),
        ("a.csv", _bytes(b""), "a.csv: is empty"),
        ("a.csv", _bytes(b"text,label\n"), "no column 'body': its columns are 'text', 'label'"),
        ("a.csv", _bytes(b"body,label,body\n"), "more than one column 'body'"),
        ("a.csv", _bytes(b'body,label\n"a\n\nb",c\nd,e,f\n'), "line 5: 3 columns, but the first row has 2"),
        ("a.csv", _bytes(b"body,label\na\n"), "line 2: 1 column,"),
        ("a.csv", _bytes(b'body,label\n"a\nb",c\nd\xff,e\n'), "line 4: not UTF-8 .*0xff"),
        (
            "a.csv",
            _bytes(b'body,label\na,b\n"c\n,d\n'),
            "line 3: in the row of lines 3 to 4: a quotation mark is opened here",
        ),
        ("a.csv", _bytes(b'body,label\na,b\n"c"d,e\n'), "line 3: text follows a closing quotation mark"),
        ("a.csv", _bytes(b"body,label\na,b\nc, \n"), "line 3: the label is empty"),
        ("a.csv", _bytes(b'body,label\na,b\nc,"d\ne"\n'), "line 3: the label is on several lines"),
        ("a.csv", _bytes(b"body,label\n" + b"a" * MAX_LINE_BYTES + b",b\n"), "line 2: longer than"),
        ("a.csv", _bytes(b'body,label\n"' + LINE * (MAX_LINE_BYTES // len(LINE) + 1)), "4,098: a field is longer than"),
        ("a.csv.gz", _bytes(b"body,label\n"), "not a whole gzip file"),
        ("a.csv.gz", _bytes(gzip.compress(b"body,label\na,b\n")[:-9]), "not a whole gzip file"),
        ("a.jsonl", _bytes(b"{}\n"), "line 1: no key 'body'"),
        ("a.jsonl", _bytes(b'{"text": "a", "label": 1}'), "line 1: no key 'body': its keys are 'text', 'label'"),
        ("a.jsonl", _bytes(b'{"body": "a", "label": 1}\n{"body":'), "line 2: Input data was truncated"),
        ("a.jsonl", _bytes(b'\n{"body": 1, "label": 1}'), "line 2: 'body' holds a value of type int, no string"),
        ("a.jsonl", _bytes(b'{"body": "", "label": null}'), "line 1: the label is empty"),
        ("a.jsonl", _bytes(b'{"body": "\xff", "label": ""}'), "line 1: not UTF-8"),
        ("a.jsonl", _bytes(b'{"body": "\\ud800", "label": ""}'), r"line 1: \\ud800 is a lone surrogate"),
        ("a.jsonl", _bytes(b'{"body": "a", "label": 1}\n[1]'), "line 2: Expected `object`, got `array`"),
        ("a.jsonl", _bytes(b"[1]"), "a.jsonl: is one JSON array, not one JSON object per line"),
        ("a.parquet", _bytes(b"body,label\n"), "a.parquet: not a whole Parquet file"),
        ("a.parquet", _columns(body=["a"]), "no column 'label': its columns are 'body'"),
        ("a.parquet", _columns(body=[1], label=["b"]), "row 1: 'body' holds a value of type int, no string"),
        ("a.parquet", _columns(body=["a", "b"], label=[1.0, float("nan")]), "row 2: the label is empty"),
        ("a.parquet", _columns(body=["a"], label=[["b"]]), "row 1: the label is a list: give each text one label"),
        ("a.parquet", _columns(body=_INVALID, label=["b", "c"]), "row 2: not UTF-8"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_names_the_line(
    name: str, write: Callable[[Path], object], says: str, tmp_path: Path
) -> None:
    write(tmp_path / name)
    with pytest.raises(InputError, match=says):
        _read(tmp_path / name)


@pytest.mark.parametrize(
    ("columns", "hint"),
    [
        (("label", "text"), "no (column|key) 'label': .*: give --text-column 'Label'"),
        (("Label", "text"), "no (column|key) 'text': .*: give --label-column 'Text'"),
        (("Label", "Text", "rows"), "no (column|key) 'rows': .*: give --weight-column 'Rows'"),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_the_hint_at_another_spelling_names_the_option_of_the_missing_column(
    columns: tuple[str, ...], hint: str, name: str, tmp_path: Path
) -> None:
    if name == "a.parquet":
        _parquet(tmp_path / name, {"Label": ["good"], "Text": ["yes"], "Rows": [1]})
    else:
        content = {"a.csv": "Label,Text,Rows\ngood,yes,1\n", "a.jsonl": '{"Label": "good", "Text": "yes", "Rows": 1}\n'}
        (tmp_path / name).write_text(content[name])
    text, label, *weight = columns
    file = LabelledFile(tmp_path / name, text, label, soft=SoftColumns(weight=weight[0] if weight else None))
    with pytest.raises(InputError, match=hint), BadRows() as bad_rows:
        list(LabelledFiles([file]).rows(bad_rows))


def test_text_and_label_cannot_be_one_column(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'body' is named for two things"):
        LabelledFile(tmp_path / "a.csv", "body", "body")


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.jsonl", "a.parquet"])
def test_a_file_is_streamed_and_says_how_far_it_is(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    texts = [f"{number} " + "word " * 200 for number in range(20_000)]  # 20 MB
    if name == "a.parquet":
        _parquet(path, {"body": texts, "label": ["x"] * len(texts)})
    elif name == "a.jsonl":
        _texts("".join(f'{{"body": "{text}", "label": "x"}}\n' for text in texts))(path)
    else:
        _texts("body,label\n" + "".join(f"{text},x\n" for text in texts))(path)
    del texts
    positions: list[int] = []
    tracemalloc.start()
    arrow = pa.total_allocated_bytes()
    largest = 0
    for row in LabelledFile(path, "body", "label").rows(positions.append):
        if row.number % 1000 == 0:
            largest = max(largest, pa.total_allocated_bytes() - arrow)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak + largest < 8_000_000
    assert len(positions) == 20
    assert positions == sorted(positions)
    assert 0 < positions[10] <= path.stat().st_size


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_a_missing_text_is_empty_in_every_format(name: str, tmp_path: Path) -> None:
    if name == "a.parquet":
        _parquet(tmp_path / name, {"body": ["a", None], "label": ["b", "c"]})
    else:
        lines = {"a.csv": "body,label\na,b\n,c\n", "a.jsonl": '{"body":"a","label":"b"}\n{"body":null,"label":"c"}'}
        _texts(lines[name])(tmp_path / name)
    assert [(row.text, row.label) for row in _read(tmp_path / name)] == [("a", "b"), ("", "c")]


def test_the_rows_of_several_files_come_in_order_with_their_files_and_progress(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        _texts("body,label\n" + "".join(f"{name} {number},x\n" for number in range(1500)))(tmp_path / name)
    files = LabelledFiles([LabelledFile(tmp_path / name, "body", "label") for name in ("a.csv", "b.csv")])
    positions: list[int] = []
    rows = list(files.rows(BadRows(), positions.append))
    assert [(file.name, row.text) for file, row in rows] == [
        (name, f"{name} {number}") for name in ("a.csv", "b.csv") for number in range(1500)
    ]
    assert positions == sorted(positions)
    assert len(positions) == 4
    assert files.size() == 2 * files.files[0].size() >= positions[-1] > files.files[0].size()
    assert (files.name, str(files)) == ("a.csv and 1 other file", f"{tmp_path}/a.csv and 1 other file")


def test_files_give_the_arguments_of_the_command_without_folders(tmp_path: Path) -> None:
    data = LabelledFiles([LabelledFile(tmp_path / name, "body", "topic") for name in ("a.csv", "b.csv")])
    columns = ["--text-column", "body", "--label-column", "topic"]
    held_out = TrainingFiles(data, 0.2, tmp_path / "bad.jsonl")
    assert held_out.arguments() == [
        *("--data", "a.csv", "b.csv", *columns),
        *("--test-split", "0.2", "--bad-rows", "bad.jsonl"),
    ]
    test = LabelledFiles([LabelledFile(tmp_path / "test.csv", "body", "topic")])
    assert TrainingFiles(data, test).arguments() == ["--data", "a.csv", "b.csv", *columns, "--test-data", "test.csv"]
