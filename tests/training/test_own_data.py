"""Own data as people have them, through the command: spellings that make no difference, and rows that teach nothing."""

import csv
import unicodedata
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from textmodel import VersionFolder, load_engine
from training import report
from training.cli import main

STEMS = ("나무", "바다", "하늘", "구름", "사람", "시간", "마음", "노래", "친구", "여행")
ENDINGS = {"p": ("좋아요", "최고예요"), "n": ("싫어요", "별로예요")}


def _write(path: Path, rows: list[tuple[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def _train(folder: Path, data: Path, *options: str) -> VersionFolder:
    assert (
        main(
            [
                "--name",
                "mine",
                "--data",
                str(data),
                "--models",
                str(folder),
                "--cost",
                "1",
                "--buckets",
                "65536",
                *options,
            ]
        )
        == 0
    )
    return VersionFolder(folder / "mine" / "1")


def test_rows_with_windows_line_ends_are_learned_as_well_as_others(tmp_path: Path) -> None:
    rows = [(f"hello {n}\r\nthe {('parcel', 'invoice')[n % 2]}\r\nthanks", "ab"[n % 2]) for n in range(40)]
    folder = _train(tmp_path, _write(tmp_path / "a.csv", rows))
    assert folder.metadata.test_metrics.accuracy == 1
    engine = load_engine(folder.path)
    texts = ["hello 7\nthe parcel\nthanks", "hello 8\nthe invoice\nthanks"]
    answers = engine.classify([*texts, *(text.replace("\n", "\r\n") for text in texts)]).probabilities
    assert answers.argmax(axis=1).tolist() == [0, 1, 0, 1]
    assert answers[:2].tolist() == answers[2:].tolist()


def test_a_model_of_decomposed_letters_answers_composed_ones(tmp_path: Path) -> None:
    rows = [(f"{STEMS[n % 10]}{n} {ENDINGS['pn'[n % 2]][n // 2 % 2]}", "pn"[n % 2]) for n in range(120)]
    data = _write(tmp_path / "a.csv", [(unicodedata.normalize("NFD", text), label) for text, label in rows])
    test = _write(tmp_path / "b.csv", [(f"새{text}", label) for text, label in rows])
    folder = _train(tmp_path, data, "--test-data", str(test))
    assert folder.metadata.test_metrics.accuracy == 1
    assert folder.metadata.data_set.unknown_word_ratio is not None


def test_emoticons_are_learned_where_they_are_the_texts(tmp_path: Path) -> None:
    rows = [(f"{':;%'[n % 3]}{'-' * (n // 6)}{')('[n % 2]}", ("glad", "sad")[n % 2]) for n in range(60)]
    folder = _train(tmp_path, _write(tmp_path / "a.csv", rows))
    assert folder.metadata.test_metrics.accuracy == 1
    answers = load_engine(folder.path).classify([":-" + "-" * 20 + ")", ";" + "-" * 30 + "("]).probabilities
    assert [folder.labels[winner] for winner in answers.argmax(axis=1)] == ["glad", "sad"]


def test_a_label_of_a_single_text_is_learned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(f"{('good', 'bad')[n % 2]} {n}", ("yes", "no")[n % 2]) for n in range(40)]
    data = _write(tmp_path / "a.csv", [*rows, ("zebra giraffe lion", "animals")])
    folder = _train(tmp_path, data)
    assert list(folder.labels) == ["animals", "no", "yes"]
    assert folder.metadata.test_metrics.accuracy == 1
    (answer,) = load_engine(folder.path).classify(["zebra giraffe lion"]).probabilities
    assert folder.labels[answer.argmax()] == "animals"
    assert "too few different texts to hold some out: 'animals': the model learns them" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "no row that can be used"),
        ([("", "a"), ("  ", "b")], "no text with a word"),
        ([("!?", "a"), ("...", "b")], "two labels need 3 different texts each"),
        ([("word " * 210_000, "ab"[n % 2]) for n in range(4)], "no text of at most 1,048,576 bytes with a word"),
        ([("one", "a"), ("two", "b")], "two labels need 3 different texts each, but 'a' has 1, 'b' has 1: add"),
        ([("one", "a"), ("two", "b"), ("three", "c")], "two labels need 3 different texts each"),
        ([(f"text {n}", "a") for n in range(9)], "every text has the label 'a': two labels are needed"),
        ([("the same", "ab"[n % 2]) for n in range(40)], "two labels need 3 different texts each"),
    ],
)
def test_rows_that_teach_nothing_are_one_line(
    rows: list[tuple[str, str]], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = _write(tmp_path / "a.csv", rows)
    assert main(["--name", "mine", "--data", str(data), "--models", str(tmp_path / "models")]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert not (tmp_path / "models").exists()


def test_a_figure_that_fails_loses_no_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Figure:
        raise MemoryError("Unable to allocate 1 GiB")

    monkeypatch.setattr(report, "confusion_matrix", fail)
    labels = ["\u202ea" * 2000, "b" * 8000]
    folder = _train(tmp_path, _write(tmp_path / "a.csv", [(f"{'pn'[n % 2]} {n}", labels[n % 2]) for n in range(40)]))
    assert len(folder.labels) == 2
    assert sorted(path.name for path in folder.report.iterdir()) == ["curves.png", "model_card.md"]
    reason = "MemoryError: Unable to allocate 1 GiB"
    said = capsys.readouterr().out
    assert f"\nWarning: the figure confusion.png is missing: {reason}\n" in said
    assert "b" * 31 not in said.replace("\n", "")
    assert "\u202e" not in said
    card = (folder.report / "model_card.md").read_text()
    assert f"*Test texts by true and predicted label: missing. {reason}*" in card
    assert "confusion.png" not in card
    assert "b" * 8000 in card
    texts = folder.metadata.data_set.training_texts
    assert f"| training texts that 3-fold cross-validation held out, each once | {texts} |" in card
