"""The options that the command refuses before it writes anything or starts Ray."""

from contextlib import closing
from pathlib import Path

import pytest

from bulk.cli import main
from bulk.output_folder import OutputFolder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with some files in it."""
    monkeypatch.chdir(tmp_path)
    for folder in ("in/b", "in/empty", "taken"):
        Path(folder).mkdir(parents=True)
    for file in ("in/a.csv", "in/b/a.csv", "in/README.md"):
        Path(file).write_text("text\n")
    Path("taken/manifest.jsonl").write_text('{"version": "x/1"}\n')
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["in"], "the following arguments are required: --model, --output: see text-classifier-bulk --help"),
        (["in/a.csv", "--workers", "0"], "argument --workers: invalid number of workers value: '0'"),
        (["in/a.csv", "--format", "xls"], "argument --format: invalid choice: 'xls'"),
        (["in/a.csv", "--input", "in/b"], "unrecognized arguments: --input"),
        (["in/a.csv", "--label-column", "text"], "need three different names"),
        (["in/none.csv"], "in/none.csv: no such file or folder"),
        (["in/README.md"], "the ending of the name has to say the format: CSV (.csv), "),
        (["in/empty"], "no file with a known ending in in/empty"),
        (["in/a.csv", "in/b/a.csv"], "would have the same output out/a.csv"),
        (["in", "--output", "in/b"], "in/b is inside the input folder in: choose another --output"),
        (["in/a.csv", "--output", "in"], "in/a.csv would overwrite it: choose another --output"),
        (["in/a.csv", "--model", "none"], "--model: none is neither a version's folder nor a model's"),
        (["in/a.csv", "--model", "in"], "--model: in is neither a version's folder nor a model's"),
        (["in/b/a.csv", "--output", "in"], "in contains other files: choose a new folder as --output"),
        (["in/a.csv", "--output", "taken"], "taken contains outputs of other options: --model x/1, now topic/1 of "),
    ],
)
def test_wrong_options_end_in_one_line_and_status_2(
    arguments: list[str], says: str, place: Path, tiny_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(place.rglob("*"))
    defaults = [] if arguments == ["in"] else ["--model", str(tiny_models / "topic"), "--output", "out"]
    try:
        status = main([*defaults, *arguments])
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else -1
    assert status == 2
    shown, error_text = capsys.readouterr()
    assert shown == ""
    assert error_text.startswith("text-classifier-bulk: error: ")
    assert error_text.count("\n") == 1
    assert says in error_text
    assert sorted(place.rglob("*")) == before


def test_two_runs_do_not_write_to_one_folder(
    place: Path, tiny_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(OutputFolder(Path("out"), {})):
        assert main(["--model", str(tiny_models / "topic/1"), "--output", "out", "in/a.csv"]) == 2
    assert capsys.readouterr().err == "text-classifier-bulk: error: out: another run is writing to this folder\n"


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("nowhere", (2, "--address: Invalid address format: nowhere")),
        ("127.0.0.1:1", (1, "no Ray cluster at 127.0.0.1:1: [Errno 111] Connection refused")),
    ],
)
def test_a_missing_cluster_is_reported_in_one_line(
    address: str, says: tuple[int, str], place: Path, tiny_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", str(tiny_models / "topic"), "--output", "out", "--address", address, "in/a.csv"]
    status, reason = says
    assert main(arguments) == status
    assert capsys.readouterr().err == f"text-classifier-bulk: error: {reason}\n"


def test_a_version_that_is_missing_is_told_with_those_that_are_there(
    place: Path, tiny_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--model", str(tiny_models / "topic" / "7"), "--output", "out", "in/a.csv"]) == 2
    assert capsys.readouterr().err.endswith(f": the versions of {tiny_models / 'topic'} are 1\n")
