"""Training with a target precision, and what evaluation says of the version."""

from pathlib import Path

import pytest

from textmodel import VersionFolder
from training.cli import main

OPTIONS = {
    "dense": ["--epochs", "3", "--batch-size", "16", "--layers", "4"],
    "ngram": ["--min-df", "1"],
}


@pytest.mark.parametrize("preset", ["dense", "ngram"])
def test_thresholds_are_stored_and_reported(
    preset: str, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "models"
    options = ["--num-words", "30", "--validation-samples", "12", "--target-precision", "0.6", *OPTIONS[preset]]
    command = ["imdb", "--data-dir", str(files), "--models", str(models), "--preset", preset, *options]
    assert main(command) == 0
    folder = VersionFolder(models / "imdb" / "1")
    assert folder.metadata.abstention
    assert folder.metadata.abstention.target_precision == folder.metadata.training["target-precision"] == 0.6
    assert len(folder.metadata.abstention.thresholds) == 2
    card = (folder.report / "model_card.md").read_text()
    assert "--target-precision 0.6" in card
    assert "## Abstention" in card
    assert (folder.report / "precision_coverage.png").read_bytes().startswith(b"\x89PNG")
    texts = tmp_path / "texts.csv"
    texts.write_text("text,label\na good film,positive\na bad film,negative\n")
    capsys.readouterr()
    assert main(["evaluate", "--model", "imdb", "--models", str(models), "--data", str(texts)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "with the version's thresholds" in said
    assert "coverage " in said
    assert "precision " in said


def test_too_many_labels_and_texts_are_an_error_before_the_choice_of_features(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.train.MAX_UNITS", 46 * 5)
    folders = ["--data-dir", str(files), "--models", str(tmp_path)]
    options = ["--preset", "ngram", "--num-words", "30", "--validation-samples", "12", "--target-precision", "0.6"]
    assert main(["reuters", *folders, *options]) == 2
    said = capsys.readouterr()
    assert "--target-precision: 46 labels times " in said.err
    assert "are more than 230: leave the option out" in said.err
    assert "accuracy" not in said.out
