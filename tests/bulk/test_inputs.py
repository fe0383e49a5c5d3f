"""Which files a run reads, and where their outputs go."""

import os
from pathlib import Path
from zipfile import ZipFile

import pytest

from bulk.inputs import Columns, find_inputs
from textfiles import Format, InputError, ReadOptions


def _outputs(paths: list[Path], format_: Format | None = None) -> list[str]:
    return [str(found.output) for found in find_inputs(paths, Path("/nowhere/out"), format_)]


def test_outputs_keep_the_structure_of_the_folder_and_skip_other_files(tmp_path: Path) -> None:
    for name in ("b.txt", "a.csv.gz", "deep/c.parquet", "deep/.hidden.csv", ".deep/d.csv", "e.md", "folder.csv/x.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert _outputs([tmp_path]) == ["a.csv.gz", "b.jsonl", "deep/c.parquet"]
    assert _outputs([tmp_path], Format.PARQUET) == ["a.parquet", "b.parquet", "deep/c.parquet"]
    assert _outputs([tmp_path / "deep" / "c.parquet"], Format.CSV) == ["c.csv"]


def test_an_unknown_ending_stays_in_the_name_of_the_output(tmp_path: Path) -> None:
    (tmp_path / "reviews.2026").touch()
    (found,) = find_inputs([tmp_path / "reviews.2026"], tmp_path / "out", None, ReadOptions(format=Format.CSV))
    assert str(found.output) == "reviews.2026.csv"


def test_a_link_is_an_input_under_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "3f2a").write_text("text\n")
    (tmp_path / "a.csv").symlink_to("blobs/3f2a")
    (found,) = find_inputs([tmp_path / "a.csv"], tmp_path / "out", None)
    assert (str(found.output), found.size, found.format) == ("a.csv", 5, Format.CSV)


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (("manifest.txt",), "out/manifest.jsonl"),
        (("a.csv", "rejected/a.csv.jsonl"), "out/rejected/a.csv.jsonl"),  # the folder of an earlier run
    ],
)
def test_an_output_does_not_replace_a_file_of_the_run(names: tuple[str, ...], taken: str, tmp_path: Path) -> None:
    for name in ("rejected/b.csv", *names):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    with pytest.raises(InputError, match=rf"the output of .* would be /nowhere/{taken}, a file that the command"):
        find_inputs([tmp_path / "in"], Path("/nowhere/out"), None)
    (tmp_path / "in" / names[-1]).unlink()
    assert find_inputs([tmp_path / "in"], Path("/nowhere/out"), None)


def test_an_input_has_size_and_time_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.tsv.gz").write_bytes(b"text")
    (found,) = find_inputs([tmp_path / "a.tsv.gz"], tmp_path / "out", None)
    status = (tmp_path / "a.tsv.gz").stat()
    assert (found.size, found.modified_ns, found.format) == (4, status.st_mtime_ns, Format.TSV)
    assert found.compressed
    assert not found.keeps_json


@pytest.mark.parametrize(("name", "format_", "keeps"), [("a.jsonl", None, True), ("a.jsonl", Format.CSV, False)])
def test_json_stays_json_only_in_json_lines(name: str, format_: Format | None, keeps: bool, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    (found,) = find_inputs([tmp_path / name], tmp_path / "out", format_)
    assert found.keeps_json is keeps


@pytest.mark.parametrize("names", [("a", "a", "b"), ("a", "b", "a"), ("b", "a", "a")])
def test_columns_need_three_names(names: tuple[str, str, str]) -> None:
    with pytest.raises(InputError, match="three different names"):
        Columns(*names)


def test_the_added_columns_are_label_and_probability() -> None:
    assert Columns("t", "l", "p").added == {"l", "p"}


@pytest.mark.parametrize(("format_", "delimiter"), [(None, ";"), (Format.CSV, ";"), (Format.TSV, "\t")])
def test_an_output_of_the_same_format_keeps_the_delimiter(
    format_: Format | None, delimiter: str, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").touch()
    (found,) = find_inputs([tmp_path / "a.csv"], tmp_path / "out", format_, ReadOptions(delimiter=";"))
    assert found.delimiter == delimiter


def _zip(path: Path, *members: str) -> None:
    with ZipFile(path, "w") as archive:
        for member in members:
            archive.writestr(member, "text\n")


def test_files_of_a_folder_that_are_not_read_are_reported_with_the_reason(tmp_path: Path) -> None:
    for name in ("a.csv", "x.json", ".hidden", "sub/.git/y.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    _zip(tmp_path / "sub" / "two.zip", "a.csv", "b.csv")
    _zip(tmp_path / "other.zip", "data/a.dat")
    (tmp_path / "no.zip").write_bytes(b"no archive")
    Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.csv")).touch()
    lines: list[str] = []
    (found,) = find_inputs([tmp_path], Path("/nowhere/out"), None, report=lines.append)
    assert found.output == Path("a.csv")
    assert lines == [
        r"skipped 5 files: caf\udce9.csv (the path is not UTF-8),"
        " no.zip (not a whole zip file (File is not a zip file)), other.zip (holds 'data/a.dat'),"
        " sub/two.zip (holds 2 files ('a.csv', 'b.csv')), x.json (the ending of the name has to say the format)"
    ]


def test_at_most_five_files_that_are_not_read_are_named(tmp_path: Path) -> None:
    for number in range(7):
        (tmp_path / f"{number}.json").touch()
    with pytest.raises(InputError, match=r"no file with a known ending in .*: skipped 7 files: 0\.json .* and 2 more$"):
        find_inputs([tmp_path], Path("/nowhere/out"), None)
