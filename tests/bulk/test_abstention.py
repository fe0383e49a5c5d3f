"""The column that marks answers below a probability, in each format."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from pyarrow import ipc

from bulk.cli import main, parser
from bulk.inputs import Columns, find_inputs
from bulk.worker import FileClassifier
from textfiles import DEFAULT_OPTIONS, Format, InputError
from textmodel import load_engine

TEXTS = ["the moving film", "dull", "oil", "gold and tin"]


@pytest.mark.parametrize("form", [Format.CSV, Format.JSON_LINES, Format.PARQUET])
def test_answers_below_the_threshold_of_their_label_are_marked(form: Format, tiny_models: Path, tmp_path: Path) -> None:
    version = tiny_models / "topic" / "1"
    probabilities = load_engine(version).classify(TEXTS).probabilities
    winners, winning = probabilities.argmax(axis=1), probabilities.max(axis=1)
    thresholds = np.full(5, np.median(winning))
    wanted = (winning < thresholds[winners]).tolist()
    assert len(set(wanted)) == 2
    (tmp_path / "in.csv").write_text("\n".join(["text", *TEXTS]) + "\n")
    inputs = find_inputs([tmp_path / "in.csv"], tmp_path / "out", form, DEFAULT_OPTIONS)
    worker = FileClassifier(version, inputs, Columns(abstained="unsure"), thresholds.tolist())
    data = next(worker.classify_file(0)).data
    if form is Format.PARQUET:
        rows = ipc.open_stream(data).read_all().to_pylist()
    elif form is Format.CSV:
        rows = [row | {"unsure": row["unsure"] == "true"} for row in csv.DictReader(io.StringIO(data.decode()))]
    else:
        rows = list(map(json.loads, data.splitlines()))
    assert [row["unsure"] for row in rows] == wanted
    assert list(rows[0]) == ["text", "label", "probability", "unsure"]


def test_thresholds_of_a_version_without_them_are_refused(
    tiny_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.txt").write_text("a film\n")
    options = ["--model", str(tiny_models / "topic"), "--output", str(tmp_path / "out"), "--use-thresholds"]
    assert main([*options, str(tmp_path / "in.txt")]) == 2
    assert "--use-thresholds: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_another_probability_than_one_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["in.txt", "--model", "m", "--output", "o", "--min-probability", "2"])
    assert "invalid number from 0 to 1 value: '2'" in capsys.readouterr().err


def test_four_columns_need_four_names() -> None:
    with pytest.raises(InputError, match="need four different names"):
        Columns(abstained="label")
