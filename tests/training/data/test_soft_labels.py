import csv
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from textfiles import InputError
from training.data.bad_rows import BadRows
from training.data.labelled_file import LabelledFile, LabelledFiles, LabelledText
from training.data.soft_labels import SoftColumns, probability_columns

SOFT = SoftColumns({"no": "p_no", "yes": "p_yes"}, "w")
NAMES = ["text", "label", "p_no", "p_yes", "w"]
ROWS = [
    ("good", "yes", 0.25, 0.75, 1),
    ("fine", None, 0.5, 0.5, 2.5),
    ("poor", "no", None, None, 0),
    ("sure", None, 0.001, 0.999, 1),
]
EXPECTED = [
    ("good", "yes", {"no": 0.25, "yes": 0.75}, 1.0),
    ("fine", "", {"no": 0.5, "yes": 0.5}, 2.5),
    ("poor", "no", None, 0.0),
    ("sure", "", {"yes": 1.0}, 1.0),
]
"""The same as they are read: the probability that is negligible is left out."""


def _write(path: Path, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    if path.suffix == ".parquet":
        parquet.write_table(pa.table({name: [row[at] for row in rows] for at, name in enumerate(names)}), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",").writerows([names, *rows])


def _read(path: Path, soft: SoftColumns = SOFT) -> list[LabelledText]:
    with BadRows() as bad_rows:
        return [row for _, row in LabelledFiles([LabelledFile(path, soft=soft)]).rows(bad_rows)]


def _found(rows: Sequence[LabelledText]) -> list[tuple[str, str, Mapping[str, float] | None, float]]:
    return [(row.text, row.label, row.soft_label, row.weight) for row in rows]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet"])
def test_every_format_gives_soft_labels_and_weights(name: str, tmp_path: Path) -> None:
    _write(tmp_path / name, NAMES, ROWS)
    assert _found(_read(tmp_path / name)) == EXPECTED


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_a_file_needs_no_labels_or_no_probabilities(name: str, tmp_path: Path) -> None:
    soft = SoftColumns(SOFT.probabilities)
    _write(tmp_path / name, ["p_yes", "text", "p_no"], [(0.5, "fine", 0.5)])
    assert _found(_read(tmp_path / name, soft)) == [("fine", "", {"no": 0.5, "yes": 0.5}, 1.0)]
    _write(tmp_path / name, ["label", "text"], [("yes", "good")])
    assert _found(_read(tmp_path / name, soft)) == [("good", "yes", None, 1.0)]


def test_objects_of_both_kinds_may_be_in_one_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"text": "good", "label": "yes", "w": 1}\n{"text": "fine", "p_no": 0.5, "p_yes": 0.5, "w": 1}\n'
    )
    assert [row.label for row in _read(tmp_path / "a.jsonl")] == ["yes", ""]


def test_rounded_probabilities_are_divided_by_their_sum(tmp_path: Path) -> None:
    soft = SoftColumns({"a": "a", "b": "b", "c": "c"})
    _write(tmp_path / "a.csv", ["text", "a", "b", "c"], [("x", "0.33", " 0.33 ", "3.3e-1"), ("y", 1.0000001, -1e-9, 0)])
    first, second = _read(tmp_path / "a.csv", soft)
    assert first.soft_label == pytest.approx({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3})
    assert second.soft_label == {"a": 1}


def test_the_most_probable_of_very_many_labels_stays(tmp_path: Path) -> None:
    names = [f"p_{number}" for number in range(400)]
    values = [0.005 if number % 2 else 0.0 for number in range(400)]
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "x", **dict(zip(names, values, strict=True))}))
    (row,) = _read(tmp_path / "a.jsonl", SoftColumns(probability_columns(",".join(names))))
    assert row.soft_label is not None
    assert len(row.soft_label) == 200


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (("0.5", "half", "1"), "'p_yes' is 'half', no number"),
        (("0,5", "0.5", "1"), "'p_no' is '0,5', no number"),
        (("0.5", "0_5", "1"), "'p_yes' is '0_5', no number"),
        (("nan", "1", "1"), "'p_no' is nan, no finite number"),
        (("0", "inf", "1"), "'p_yes' is inf, no finite number"),
        (("-0.5", "1.5", "1"), "'p_no' is -0.5: a probability is from 0 to 1"),
        (("0", "1.5", "1"), "'p_yes' is 1.5: a probability is from 0 to 1"),
        (("30", "70", "1"), "'p_no' is 30: a probability is from 0 to 1"),
        (("0.5", "0.6", "1"), "the probabilities sum to 1.1, not to 1"),
        (("0.3", "0.3", "1"), "the probabilities sum to 0.6, not to 1"),
        (("0", "0", "1"), "the probabilities sum to 0, not to 1"),
        (("0.5", "", "1"), "'p_yes' is empty, but other probabilities are not"),
        (("", " ", "1"), "has neither a label nor probabilities"),
        (("0.5", "0.5", ""), "'w' is empty: a weight is a number from 0"),
        (("0.5", "0.5", "x"), "'w' is 'x', no number"),
        (("0.5", "0.5", "-1"), "'w' is -1: a weight is not negative"),
        (("0.5", "0.5", "-0.25"), "'w' is -0.25: a weight is not negative"),
        (("0.5", "0.5", "1e300"), "'w' is 1e+300: a weight is 1,000,000 at most"),
        (("0.5", "0.5", "nan"), "'w' is nan, no finite number"),
        (("0.5", "0.5", "1e999"), "'w' is inf, no finite number"),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_a_wrong_value_is_an_error_that_names_it(
    name: str, values: tuple[str, str, str], says: str, tmp_path: Path
) -> None:
    _write(tmp_path / name, ["text", "label", "p_no", "p_yes", "w"], [("good", "", *values)])
    unit = {"a.csv": "line 2", "a.jsonl": "line 1", "a.parquet": "row 1"}[name]
    with pytest.raises(InputError) as error:
        _read(tmp_path / name)
    assert str(error.value).startswith(f"{tmp_path / name}: {unit}: {says}")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (True, "'p_yes' is True, no number"),
        ([1.0], r"'p_yes' is \[1.0\], no number"),
        ({"a": 1}, "'p_yes' is {'a': 1}, no number"),
        (10**400, "no number"),
    ],
)
def test_a_json_value_of_another_type_is_no_number(value: object, says: str, tmp_path: Path) -> None:
    _write(tmp_path / "a.jsonl", ["text", "p_no", "p_yes", "w"], [("good", 0, value, 1)])
    with pytest.raises(InputError, match=says):
        _read(tmp_path / "a.jsonl")


def test_not_a_number_in_parquet_is_no_probability_and_decimals_are(tmp_path: Path) -> None:
    _write(tmp_path / "a.parquet", NAMES[:4], [("good", "yes", float("nan"), float("nan"))])
    soft = SoftColumns(SOFT.probabilities)
    with pytest.raises(InputError, match="row 1: 'p_no' is nan, no finite number"):
        _read(tmp_path / "a.parquet", soft)
    _write(tmp_path / "a.parquet", NAMES[:4], [("good", "yes", Decimal("0.5"), Decimal("0.5"))])
    assert _read(tmp_path / "a.parquet", soft)[0].soft_label == {"no": 0.5, "yes": 0.5}


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["text", "w"], "a.csv: has neither 'label' nor 'p_no', 'p_yes': its columns are 'text', 'w'"),
        (["text", "w", "p_no"], "a.csv: no column 'p_yes'"),
        (["text", "w", "label", "p_yes"], "a.csv: no column 'p_no'"),
        (["text", "label", "p_no", "p_yes"], "a.csv: no column 'w'"),
        (["label", "p_no", "p_yes", "w"], "a.csv: no column 'text'"),
        (["text", "p_no", "p_yes", "p_yes", "w"], "more than one column 'p_yes'"),
    ],
)
def test_a_missing_column_is_an_error(names: list[str], says: str, tmp_path: Path) -> None:
    _write(tmp_path / "a.csv", names, [["1"] * len(names)])
    with pytest.raises(InputError, match=says):
        _read(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"text": "x", "w": 1}', "line 1: has neither 'label' nor 'p_no', 'p_yes': its keys are 'text', 'w'"),
        ('{"text": "x", "w": 1, "p_no": 1}', "line 1: no key 'p_yes'"),
        ('{"text": "x", "label": "yes"}', "line 1: no key 'w'"),
        ('{"text": "x", "label": "yes", "w": 1e999}', "line 1: 'w': Number out of range"),
        ('{"text": "x", "label": 1e999, "w": 1}', "line 1: 'label': Number out of range"),
        ('{"text": "x", "label": null, "w": 1}', "line 1: has neither a label nor probabilities"),
        (
            '{"text": "x", "label": "may be", "w": 1}',
            "line 1: the label 'may be' is none of those of --probability-columns, 'no', 'yes'; --bad",
        ),
    ],
)
def test_a_missing_key_is_a_bad_row(line: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(line)
    with pytest.raises(InputError, match=says):
        _read(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    "soft", [SoftColumns({"a": "text", "b": "b"}), SoftColumns({}, "label"), SoftColumns({"a": "a"}, "a")]
)
def test_a_column_has_one_meaning(soft: SoftColumns, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is named for two things"):
        LabelledFile(tmp_path / "a.csv", soft=soft)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("p_a,p_b", {"a": "p_a", "b": "p_b"}),
        ("a, b ,c", {"a": "a", "b": "b", "c": "c"}),
        ("yes=score_1,no=score_2", {"yes": "score_1", "no": "score_2"}),
        ('"a, b=first",b=second', {"a, b": "first", "b": "second"}),
        ("p_0,p_1.0", {"0": "p_0", "1": "p_1.0"}),
        ("p_x=p_x,y=a=b", {"p_x": "p_x", "y": "a=b"}),
    ],
)
def test_names_of_columns_give_labels(text: str, columns: dict[str, str]) -> None:
    assert probability_columns(text) == columns
    arguments = SoftColumns(columns, "w").arguments()
    assert arguments[::2] == ["--probability-columns", "--weight-column"]
    assert probability_columns(arguments[1]) == columns


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "two columns or more"),
        ("p_a", "two columns or more"),
        ("p_a,p_a", "names 'a' twice"),
        ("p_a,b=p_a", "names 'p_a' twice"),
        ("p_a,a", "names 'a' twice"),
        ("p_a,", "the label is empty"),
        ("p_,p_a", "the label is empty"),
        ("a=,b=x", "has an empty name"),
        ("=a,b=x", "the label is empty"),
    ],
)
def test_names_that_give_no_labels_are_an_error(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        probability_columns(text)
