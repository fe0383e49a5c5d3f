"""Outputs appear complete or not at all, and the manifest knows them."""

import os
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from bulk import output_folder
from bulk.inputs import InputFile, find_inputs
from bulk.output_folder import OutputFolder
from bulk.results import BatchResult, serialize
from textfiles import InputError

SETTINGS = {"version": "x/1"}


def _input(folder: Path, name: str = "a.csv") -> InputFile:
    (folder / name).touch()
    (found,) = find_inputs([folder / name], folder / "out", None)
    return found


def _visible(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _published(folder: OutputFolder, input_: InputFile) -> None:
    output = folder.create(input_)
    output.write(BatchResult(0, 0, 1, b"one\n", 2, b"why\n", 5))
    folder.publish(output)


def test_an_output_gets_its_name_when_it_is_published(tmp_path: Path) -> None:
    with closing(OutputFolder(tmp_path / "out", SETTINGS)) as folder:
        output = folder.create(_input(tmp_path))
        output.write(BatchResult(0, 0, 1, b"one\n", 2, b"why\n", 5))
        output.write(BatchResult(0, 1, 1, b"two\n", 1, b"because\n", 9))
        assert (output.rows, output.rejected, output.position) == (2, 3, 9)
        hidden = [name for name in _visible(tmp_path / "out") if name != "manifest.jsonl"]
        assert len(hidden) == 2
        assert all(Path(name).name.startswith(".") for name in hidden)
        folder.publish(output)
    assert (tmp_path / "out" / "a.csv").read_bytes() == b"one\ntwo\n"
    assert (tmp_path / "out" / "rejected" / "a.csv.jsonl").read_bytes() == b"why\nbecause\n"
    assert _visible(tmp_path / "out") == ["a.csv", "manifest.jsonl", "rejected/a.csv.jsonl"]


def test_a_closed_output_leaves_nothing(tmp_path: Path) -> None:
    with closing(OutputFolder(tmp_path / "out", SETTINGS)) as folder:
        output = folder.create(_input(tmp_path))
        output.write(BatchResult(0, 0, 1, b"one\n", 1, b"why\n"))
        output.close()
    assert _visible(tmp_path / "out") == ["manifest.jsonl"]


def test_batches_out_of_order_are_a_fault(tmp_path: Path) -> None:
    with closing(OutputFolder(tmp_path / "out", SETTINGS)) as folder:
        output = folder.create(_input(tmp_path))
        with pytest.raises(RuntimeError, match="batch 1 instead of 0"):
            output.write(BatchResult(0, 1))
        output.close()


def test_an_output_is_finished_until_its_input_changes_or_it_goes(tmp_path: Path) -> None:
    input_ = _input(tmp_path)
    with closing(OutputFolder(tmp_path / "out", SETTINGS)) as folder:
        assert not folder.is_finished(input_)
        _published(folder, input_)
    with closing(OutputFolder(tmp_path / "out", SETTINGS)) as folder:
        assert folder.is_finished(input_)
        os.utime(tmp_path / "a.csv", ns=(0, 1))
        (changed,) = find_inputs([tmp_path / "a.csv"], tmp_path / "out", None)
        assert not folder.is_finished(changed)
        (tmp_path / "out" / "a.csv").unlink()
        assert not folder.is_finished(input_)


def test_an_output_without_rejected_rows_removes_those_of_an_earlier_run(tmp_path: Path) -> None:
    input_ = _input(tmp_path)
    with closing(OutputFolder(tmp_path / "out", SETTINGS)) as folder:
        _published(folder, input_)
        output = folder.create(input_)
        output.write(BatchResult(0, 0, 1, b"one\n"))
        folder.publish(output)
    assert _visible(tmp_path / "out") == ["a.csv", "manifest.jsonl"]


def test_an_incomplete_last_line_of_the_manifest_is_ignored(tmp_path: Path) -> None:
    input_ = _input(tmp_path)
    with closing(OutputFolder(tmp_path / "out", SETTINGS)) as folder:
        _published(folder, input_)
    manifest = tmp_path / "out" / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes() + b'{"output":"b.cs')
    with closing(OutputFolder(tmp_path / "out", SETTINGS)) as folder:
        assert folder.is_finished(input_)
    assert manifest.read_bytes().count(b"\n") == 2


def test_files_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    with closing(OutputFolder(tmp_path / "out", SETTINGS)) as folder:
        folder.create(_input(tmp_path))  # neither published nor closed
    with closing(OutputFolder(tmp_path / "out", SETTINGS)):
        assert _visible(tmp_path / "out") == ["manifest.jsonl"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not a manifest of this command"),
        (b"[]\n", "is not a manifest of this command"),
        (b'{"version":"x/2"}\n', "contains outputs of other options: --model x/2, now x/1: give"),
    ],
)
def test_a_folder_of_other_settings_is_refused_and_stays_unlocked(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_bytes(content)
    for _ in range(2):
        with pytest.raises(InputError, match=says):
            OutputFolder(tmp_path, SETTINGS)
    assert (tmp_path / "manifest.jsonl").read_bytes() == content


def test_the_options_that_differ_are_named(tmp_path: Path) -> None:
    columns = {**SETTINGS, "label column": "label"}
    marked = {**columns, "abstained column": "unsure", "thresholds": "0.9 0.9 0.9"}
    OutputFolder(tmp_path, marked).close()
    for settings, differences in (
        (columns, "--min-probability or --use-thresholds 0.9, now none:"),
        ({**marked, "thresholds": "0.9 0.8 0.9"}, "--min-probability or --use-thresholds 0.9, now 0.9 0.8:"),
        ({**marked, "label column": "l"}, "--label-column label, now l:"),
        ({**marked, "input": "--encoding cp1252"}, "options of reading none, now --encoding cp1252:"),
    ):
        with pytest.raises(InputError, match=f"contains outputs of other options: {differences} give the same again"):
            OutputFolder(tmp_path, settings)


def test_parquet_is_gathered_to_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = pa.RecordBatch.from_pylist([{"n": number} for number in range(10)])
    monkeypatch.setattr(output_folder, "_ROW_GROUP_BYTES", 2 * batch.nbytes)
    with closing(OutputFolder(tmp_path / "out", SETTINGS)) as folder:
        output = folder.create(_input(tmp_path, "a.parquet"))
        for number in range(5):
            output.write(BatchResult(0, number, 10, serialize(batch)))
        output.write(BatchResult(0, 5, is_last=True))
        folder.publish(output)
    file = parquet.ParquetFile(tmp_path / "out" / "a.parquet")
    assert [file.metadata.row_group(at).num_rows for at in range(file.num_row_groups)] == [20, 20, 10]
    assert file.read()["n"].to_pylist() == list(range(10)) * 5
