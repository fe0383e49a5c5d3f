import datetime
import math
from decimal import Decimal

import pytest

from training.data.labels import alike_among, label_of, lists_among, spelling_note


@pytest.mark.parametrize(
    ("values", "label"),
    [
        ([0, 0.0, -0.0, "0", "0.0", " 0.00 ", "-0.0", Decimal("0.00")], "0"),
        ([3, 3.0, "3", "3.0", Decimal("3.0")], "3"),
        ([-3, "-3.0"], "-3"),
        ([10, "10.0", Decimal("1E+1")], "10"),
        ([1.5, "1.5", Decimal("1.50")], "1.5"),
        ([True, "True", "TRUE", "true"], "true"),
        ([False, "False", "false"], "false"),
        (["café", "cafe\u0301", " café\t"], "café"),
    ],
)
def test_labels_of_one_meaning_are_one(values: list[object], label: str) -> None:
    assert [label_of(value) for value in values] == [label] * len(values)


@pytest.mark.parametrize(
    "label", ["1.10", "007", "1.0.0", "1e3", "1_000", "１", ".0", "v1.0", "0.01", "TrUe", "a  b", "+1.0"]
)
def test_a_label_that_is_no_whole_number_stays_as_it_is(label: str) -> None:
    assert label_of(label) == label


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty"),
        (math.nan, "empty"),
        (Decimal("NaN"), "empty"),
        ("", "empty"),
        (" \n", "empty"),
        ("a\nb", "on several lines"),
        ("a\rb", "on several lines"),
        (["a"], "a list: give each text one label"),
        ({"a": 1}, "a value of type dict"),
        (b"a", "a value of type bytes"),
        (datetime.date(2024, 1, 1), "a value of type date"),
    ],
)
def test_what_is_no_label_has_a_reason(value: object, reason: str) -> None:
    with pytest.raises(ValueError, match=f"the label is {reason}"):
        label_of(value)


@pytest.mark.parametrize(
    ("labels", "lists"),
    [
        (["sports", "politics", "sports,politics"], ["sports,politics"]),
        (["sports", "politics", "politics; sports"], ["politics; sports"]),
        (["a|b", "b|c", "c|a"], ["a|b", "b|c", "c|a"]),
        (['["a", "b"]', "['c']", "d"], ['["a", "b"]', "['c']"]),
        (["Salt, pepper", "Oil, vinegar", "Bread"], []),
        (["a", "b", "a,c"], []),
        (["[", "]"], []),
        (["a-b", "a", "b"], []),
    ],
)
def test_labels_that_look_like_lists_are_found(labels: list[str], lists: list[str]) -> None:
    assert lists_among(labels) == lists


@pytest.mark.parametrize(
    "labels",
    [
        ["01", "1", "+1", "1.00", "１", "１.0", "1e0", "٠١"],
        ["1000", "1E3", "1_000", "1,000", "1,000.0"],
        ["-0", "0", "00"],
        ["0.5", "0.50", ".5"],
        ["Straße", "STRASSE", "straße ", "Stra\u00adße", "Ｓｔｒａßｅ", "\ufeffstraße"],
        ["not spam", "Not\u00a0Spam", "notspam", "not\u3000\u200bspam"],
        ["nan", "NaN"],
    ],
)
def test_labels_that_differ_in_their_spelling_alone_are_found(labels: list[str]) -> None:
    others = ["1.5", "15", "10", "v1", "1,5", "strasze", "inf", "", "non spam", "1 2 3"]
    assert alike_among([*others, *labels]) == labels
    assert spelling_note(others, labels) == ""
    assert all(f"{label!r} differs from a known label" in spelling_note([label], labels[:1]) for label in labels[1:])
