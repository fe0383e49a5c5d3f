from pathlib import Path

import msgspec
import pytest

from textfiles import InputError, ReadOptions, TextFile, Unreadable
from textfiles.decoding import ENCODING_HINT
from training.data.bad_rows import BadRows


def _add(bad_rows: BadRows, folder: Path, count: int) -> None:
    for number in range(1, count + 1):
        bad_rows.add(TextFile(folder / "a.csv"), Unreadable(number, "odd"))


def test_one_bad_row_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error, BadRows() as bad_rows:
        _add(bad_rows, tmp_path, 1)
    assert str(error.value) == f"{tmp_path}/a.csv: line 1: odd; --bad-rows FILE leaves out such rows"
    assert error.value.details == ()


@pytest.mark.parametrize(
    ("count", "last"), [(20, "/a.csv: line 20: odd"), (21, "and 1 more"), (5021, "and 5,001 more")]
)
def test_all_bad_rows_are_counted_and_the_first_twenty_listed(count: int, last: str, tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=f"{count:,} rows cannot be used: .*--bad-rows FILE") as error,
        BadRows() as bad_rows,
    ):
        _add(bad_rows, tmp_path, count)
    assert len(error.value.details) == min(count, 21)
    assert error.value.details[0] == f"{tmp_path}/a.csv: line 1: odd"
    assert error.value.details[-1].endswith(last)


@pytest.mark.parametrize(("misencoded", "hinted"), [(3, True), (2, False)])
def test_the_encoding_is_hinted_at_where_most_bad_rows_have_another(
    misencoded: int, hinted: bool, tmp_path: Path
) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(b"text\n" + b"\xe9t\xe9\n" * misencoded)
    source = TextFile(file)
    with source.open() as opened:
        rows = list(source.separated(opened)[1])

    def add(bad_rows: BadRows) -> None:
        _add(bad_rows, tmp_path, 2)
        for row in rows:
            assert isinstance(row, Unreadable)
            bad_rows.add(source, row)

    with pytest.raises(InputError) as error, BadRows() as bad_rows:
        add(bad_rows)
    assert ("most are not UTF-8: name their encoding with --encoding, as cp1252" in str(error.value)) == hinted
    assert str(error.value).endswith("--bad-rows FILE") != hinted


def test_the_hint_at_the_encoding_names_the_one_that_was_given(tmp_path: Path) -> None:
    source = TextFile(tmp_path / "a.csv", ReadOptions(encoding="shift_jis"))

    def add(bad_rows: BadRows) -> None:
        for number in (1, 2):
            bad_rows.add(source, Unreadable(number, f"not shift_jis: {ENCODING_HINT}"))

    with pytest.raises(InputError, match="most are not shift_jis: name their encoding"), BadRows() as bad_rows:
        add(bad_rows)


def test_bad_rows_are_set_aside_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    with BadRows(path) as bad_rows:
        _add(bad_rows, tmp_path, 30)
        assert not path.exists()
    rows = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    assert rows == [{"file": f"{tmp_path}/a.csv", "line": number, "reason": "odd"} for number in range(1, 31)]
    assert [entry.name for entry in tmp_path.iterdir()] == ["bad.jsonl"]


def test_a_run_that_fails_leaves_no_file_of_bad_rows(tmp_path: Path) -> None:
    def run() -> None:
        with BadRows(tmp_path / "bad.jsonl") as bad_rows:
            _add(bad_rows, tmp_path, 3)
            raise InputError("other")

    with pytest.raises(InputError, match="other"):
        run()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_an_error_at_once(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"cannot write .*No such file"),
        BadRows(tmp_path / "no" / "b.jsonl"),
    ):
        pass


def test_a_run_without_bad_rows_ends_well_and_an_error_of_its_own_is_kept(tmp_path: Path) -> None:
    with BadRows() as bad_rows:
        pass
    assert bad_rows.count == 0

    def run() -> None:
        with BadRows() as bad_rows:
            _add(bad_rows, tmp_path, 3)
            raise InputError("other")

    with pytest.raises(InputError, match=r"^other$"):
        run()
