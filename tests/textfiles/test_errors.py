import pytest

from textfiles import counted
from textfiles.errors import InputError, listed


def test_a_noun_agrees_with_its_count() -> None:
    assert [counted(count, "file") for count in (0, 1, 2, 2000)] == ["0 files", "1 file", "2 files", "2,000 files"]


@pytest.mark.parametrize(
    ("count", "limit", "expected"),
    [
        (0, 5, ""),
        (1, 5, "'0'"),
        (2, 2, "'0', '1'"),
        (3, 2, "'0', '1' and 1 more"),
        (1002, 1, "'0' and 1,001 more"),
    ],
)
def test_a_list_of_names_is_cut_and_says_how_many_more_there_are(count: int, limit: int, expected: str) -> None:
    assert listed(map(str, range(count)), limit) == expected


def test_five_names_are_listed_by_default() -> None:
    assert listed("abcde") == "'a', 'b', 'c', 'd', 'e'"
    assert listed("abcdef") == "'a', 'b', 'c', 'd', 'e' and 1 more"


def test_a_long_name_is_cut_in_a_list() -> None:
    assert listed(["a" * 80, "b" * 81]) == f"'{'a' * 80}', '{'b' * 79}…'"


def test_an_input_error_has_a_message_and_details() -> None:
    error = InputError("a.csv: odd", ["line 1: x"])
    assert (str(error), error.details, InputError("x").details) == ("a.csv: odd", ("line 1: x",), ())
