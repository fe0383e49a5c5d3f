"""Training with --probability-columns and --weight-column, from files to the model card."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

from textmodel import VersionFolder, load_engine
from training.cli import main

WORDS = {"billing": "invoice charge refund", "delivery": "parcel courier late", "device": "screen battery broken"}
LABELS = list(WORDS)
COLUMNS = ["--probability-columns", "p_billing,p_delivery,p_device", "--weight-column", "w"]
PRESETS = {
    "ngram": ["--features", "words", "--cost", "1", "--buckets", "65536"],
    "dense": ["--preset", "dense", "--epochs", "4"],
}


def _write(path: Path, names: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    return str(path)


def _text(label: str, number: int) -> str:
    words = WORDS[label].split()
    return f"{words[number % 3]} {words[(number + 1) % 3]} ticket n{number}"


def _labelled(folder: Path) -> str:
    rows = [(_text(label, n), label, 1) for n in range(12) for label in LABELS]
    return _write(folder / "labelled.csv", ["text", "label", "w"], rows)


def _taught(folder: Path) -> str:
    """Writes a file of soft labels without a label; a row of weight 0 says what is wrong."""
    rows = [
        (_text(label, n), *(0.9 if other == label else 0.05 for other in LABELS), 2)
        for n in range(100, 140)
        for label in LABELS
    ]
    wrong = [(_text("billing", n), 0, 0, 1, 0) for n in range(200, 300)]
    return _write(folder / "taught.csv", ["text", "p_billing", "p_delivery", "p_device", "w"], [*rows, *wrong])


@pytest.mark.parametrize("preset", PRESETS)
def test_soft_labels_and_weights_become_a_version_that_records_them(
    preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [_labelled(tmp_path), _taught(tmp_path)]
    options = [*COLUMNS, *PRESETS[preset], "--models", str(tmp_path), "--target-precision", "0.6"]
    assert main(["--name", "support", "--data", *files, *options]) == 0
    folder = VersionFolder(tmp_path / "support" / "1")
    assert list(folder.labels) == LABELS
    assert load_engine(folder.path).classify(["the invoice has a charge"]).probabilities.argmax() == 0
    data = folder.metadata.data_set
    assert data.soft_texts == 120
    assert data.training_texts == 120 + 36 - data.test_texts
    assert data.weight == 2 * 120 + 36 - data.test_texts
    assert folder.metadata.test_metrics.accuracy > 0.9
    said, card = capsys.readouterr().out, (folder.report / "model_card.md").read_text()
    assert ("expected accuracy by soft labels on held-out texts" in said) == (preset == "ngram")
    assert "--probability-columns p_billing,p_delivery,p_device --weight-column w" in card
    for report in (said, card):
        for finding in ("training texts with a soft label", "rows of weight 0, left out", "sum of the weights"):
            assert finding in report


def test_a_version_with_soft_labels_is_promoted_on_labels(tmp_path: Path) -> None:
    command = ["--name", "support", "--models", str(tmp_path), *PRESETS["ngram"], "--promote-if-better", "--data"]
    files = [_labelled(tmp_path), _taught(tmp_path)]
    assert main([*command, files[0]]) == 0
    assert main([*command, *files, *COLUMNS]) == 0
    assert sorted(path.name for path in (tmp_path / "support").iterdir()) == ["1", "candidate-2"]


def test_bad_soft_labels_are_listed_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = [("x", "half", 0.25, 0.25, 1), ("y", 0.5, 0.5, 0.5, 1), ("z", 0.5, 0.5, 0, -1)]
    path = _write(tmp_path / "bad.csv", ["text", "p_billing", "p_delivery", "p_device", "w"], bad)
    command = ["--name", "support", "--models", str(tmp_path), *PRESETS["ngram"], *COLUMNS]
    command += ["--data", _labelled(tmp_path), _taught(tmp_path), path]
    assert main(command) == 2
    assert capsys.readouterr().err.splitlines() == [
        "text-classifier-train: error: 3 rows cannot be used: correct them, or leave them out with --bad-rows FILE",
        f"  {path}: line 2: 'p_billing' is 'half', no number",
        f"  {path}: line 3: the probabilities sum to 1.5, not to 1",
        f"  {path}: line 4: 'w' is -1: a weight is not negative",
    ]
    assert not (tmp_path / "support").exists()


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ("p_billing", "'p_billing' is not two columns or more, separated by commas"),
        ("p_a,p_a", "names 'a' twice"),
        ("a,b=", "has an empty name"),
    ],
)
def test_wrong_names_of_columns_are_refused(columns: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--name", "support", "--data", "a.csv", "--probability-columns", columns])
    assert says in capsys.readouterr().err
