import csv
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.tiny_model import WORDS, write_model
from textmodel import VersionFolder, load_engine
from training.cli import main
from training.data import text_hashes
from training.data.bad_rows import BadRows
from training.data.labelled_file import LabelledFile, LabelledFiles
from training.evaluation import report as evaluation_report
from training.evaluation.metrics import evaluate
from training.evaluation.version_evaluation import EXCERPT, MAX_MISTAKES, LoadedVersion, evaluate_files

LABELS = ("negative", "positive")


def _texts(count: int) -> list[str]:
    random = np.random.default_rng(3)
    vocabulary = [*WORDS, "unheard"]
    return [" ".join(random.choice(vocabulary, random.integers(1, 9))) for _ in range(count)]


def _write(path: Path, rows: Iterable[tuple[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def _as(version: Path, texts: list[str]) -> list[tuple[str, str]]:
    """Returns the texts with the labels that the version gives them."""
    winners = load_engine(version).classify(texts).probabilities.argmax(axis=1)
    return [(text, VersionFolder(version).labels[winner]) for text, winner in zip(texts, winners, strict=True)]


@pytest.fixture
def half_right(tmp_path: Path) -> Path:
    """A file of 600 texts, more than are classified at a time, with labels by turns."""
    return _write(tmp_path / "half.csv", zip(_texts(600), LABELS * 300, strict=True))


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with two versions of `sentiment` that often disagree. Not to be changed."""
    models = tmp_path_factory.mktemp("versions")
    for seed in (0, 5):
        write_model(models, "sentiment", seed=seed)
    return models


def _value(said: str, name: str) -> str:
    (value,) = re.findall(rf"│ {name} +│ (.+?) +│", said)
    return str(value)


def test_evaluate_says_what_the_engine_s_own_probabilities_come_to(
    half_right: Path, tiny_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--model", "sentiment", "--data", str(half_right), "--models", str(tiny_models)]) == 0
    prediction = load_engine(tiny_models / "sentiment" / "1").classify(_texts(600))
    expected = evaluate(prediction.probabilities, np.arange(600) % 2)
    low, high = expected.accuracy_interval
    said = capsys.readouterr().out
    assert _value(said, "texts") == "600"
    assert _value(said, "accuracy") == f"{expected.accuracy:.4f} (95% interval {low:.4f} to {high:.4f})"
    assert _value(said, "log loss") == f"{expected.log_loss:.4f}"
    assert _value(said, "expected calibration error") == f"{expected.expected_calibration_error:.4f}"


def test_evaluate_compares_the_share_of_unknown_words_with_the_recorded_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_model(tmp_path, "mine")
    data = _write(tmp_path / "a.csv", [("the film was good", "negative"), ("dull unheard of ones", "positive")])
    command = ["evaluate", "--model", "mine", "--data", str(data), "--models", str(tmp_path)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert _value(said, "unknown words") == "62.50%"
    assert _value(said, "unknown words in training") == _value(said, "unknown words in validation") == "not recorded"
    assert "62% of the words are unknown: the model " in said
    before = folder.metadata
    for usual, differs in ((0.52, True), (0.53, False)):
        ratios = {"unknown_word_ratio": 0.0271, "validation_unknown_word_ratio": usual}
        data_set = msgspec.structs.replace(before.data_set, **ratios)
        msgspec.structs.replace(before, data_set=data_set).write(folder.metadata_file)
        assert main(command) == 0
        said = capsys.readouterr().out
        assert _value(said, "unknown words in training") == "2.71%"
        assert _value(said, "unknown words in validation") == f"{usual:.2%}"
        assert ("62% of the words are unknown, but 52% of those of the validation texts" in said) == differs
        assert ("62% of the words are unknown: the model " in said) != differs


def test_the_most_confident_mistakes_are_kept_with_an_excerpt_of_their_texts(tmp_path: Path, tiny_models: Path) -> None:
    texts = [f"{text} {'x' * EXCERPT}" for text in _texts(600)]
    wrong = [(text, LABELS[label == LABELS[0]]) for text, label in _as(tiny_models / "sentiment" / "1", texts)]
    version = LoadedVersion(tiny_models / "sentiment" / "1")
    files = LabelledFiles([LabelledFile(_write(tmp_path / "wrong.csv", wrong))])
    result = evaluate_files(version, files, BadRows())
    assert result.evaluation.accuracy == 0
    assert len(result.mistakes) == MAX_MISTAKES
    confidence = version.engine.classify(texts).probabilities.max(axis=1)
    assert [mistake.confidence for mistake in result.mistakes] == pytest.approx(
        sorted(confidence)[: -MAX_MISTAKES - 1 : -1]
    )
    assert all(one.confidence >= other.confidence for one, other in pairwise(result.mistakes))
    for mistake in result.mistakes:
        text, label = wrong[int(mistake.where) - 2]
        assert (mistake.excerpt, mistake.label) == (text[:EXCERPT], label)
        assert {mistake.predicted, label} == set(LABELS)


def test_labels_that_the_model_does_not_know_count_as_wrong_and_are_named(
    tiny_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = _as(tiny_models / "sentiment" / "1", _texts(30))
    unknown = [("the film", f"new {number % 7}") for number in range(10)]
    data = _write(tmp_path / "a.csv", [*unknown[:5], *known, *unknown[5:]])
    report = tmp_path / "a.md"
    command = ["evaluate", "--model", "sentiment", "--data", str(data), "--models", str(tiny_models)]
    assert main([*command, "--report", str(report)]) == 0
    said = capsys.readouterr().out
    expected = evaluate(
        load_engine(tiny_models / "sentiment" / "1").classify([text for text, _ in known]).probabilities,
        np.array([LABELS.index(label) for _, label in known]),
    )
    assert _value(said, "accuracy").startswith("0.7500 ")
    assert _value(said, "log loss") == f"{expected.log_loss:.4f}"
    assert "does not know the labels 'new 0', 'new 1', 'new 2', 'new 3', 'new 4' and 2 more of 10 texts" in said
    assert "| new 6 | 0.000 | 0.000 | 0.000 | 1 |" in report.read_text()
    assert "differs" not in said
    _write(data, [*known, ("the film", "NEGATIVE")])
    assert main(command) == 0
    assert "'NEGATIVE' differs from a known label only in case," in capsys.readouterr().out


def test_compare_counts_labels_that_one_version_or_neither_knows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path, "mine")
    write_model(tmp_path, "mine", labels=("positive", "new"))
    write_model(tmp_path, "mine", labels=("bad", "good"))
    data = _write(tmp_path / "a.csv", [*_as(tmp_path / "mine" / "1", _texts(30)), ("the film", "Positive")])
    assert main(["compare", "mine/1", "mine/2", "--data", str(data), "--models", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"accuracy 0.0000 instead of {30 / 31:.4f}" in said
    assert "Neither version knows the label 'Positive' of 1 text: counted as wrong. 'Positive' differs from a" in said
    assert "mine/2 does not know the label 'negative' of" in said
    assert main(["compare", "mine/3", "mine/1", "--data", str(data), "--models", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "mine/3 does not know the labels 'negative', 'positive' of 30 texts: it is wrong on all of them." in said


def _learn(version: Path, texts: Iterable[str]) -> None:
    """Makes a version record that it has learned texts."""
    text_hashes.write(version / "assets.extra" / text_hashes.FILE, map(text_hashes.text_hash, texts))


def test_compare_leaves_out_what_either_version_has_learned(
    versions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "models"
    shutil.copytree(versions, models)
    texts = [f"{text} {number}" for number, text in enumerate(_texts(100))]
    _learn(models / "sentiment" / "1", [f"{text.upper()}!" for text in texts[:30]])
    _learn(models / "sentiment" / "2", texts[20:50])
    data = _write(tmp_path / "a.csv", _as(models / "sentiment" / "1", texts))
    assert main(["compare", "sentiment/1", "sentiment/2", "--data", str(data), "--models", str(models)]) == 0
    said = capsys.readouterr().out
    assert said.count("on 50 texts.") == 2
    assert "Left out 50 texts that one of the versions has learned." in said
    assert main(["evaluate", "--model", "sentiment", "--data", str(data), "--models", str(models)]) == 0
    assert "has learned 30 of these texts" in capsys.readouterr().out
    _learn(models / "sentiment" / "1", texts)
    assert main(["compare", "sentiment/1", "sentiment/2", "--data", str(data), "--models", str(models)]) == 2
    assert "one of the versions has learned all of 100 texts: give other texts" in capsys.readouterr().err


def test_several_files_are_evaluated_as_one_and_mistakes_name_theirs(
    tiny_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = _as(tiny_models / "sentiment" / "1", _texts(20))
    (wrong, right), *_ = rows
    first = _write(tmp_path / "a.csv", rows)
    second = _write(tmp_path / "b.csv", [*rows, (wrong, LABELS[right == LABELS[0]])])
    report = tmp_path / "a.md"
    files = ["--data", str(first), "--data", str(second)]
    assert (
        main(["evaluate", "--model", "sentiment", *files, "--models", str(tiny_models), "--report", str(report)]) == 0
    )
    said = capsys.readouterr().out
    assert f"sentiment/1 on {first} and 1 other file\n" in said
    assert _value(said, "texts") == "41"
    assert "| b.csv: 22 |" in report.read_text()


@pytest.mark.parametrize("command", [["evaluate", "--model", "sentiment"], ["compare", "sentiment/1", "topic/1"]])
def test_bad_rows_are_listed_or_set_aside(
    command: list[str], tiny_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = _write(tmp_path / "a.csv", [*_as(tiny_models / "sentiment" / "1", _texts(5)), ("a", ""), ("b", " ")])
    command = [*command, "--data", str(data), "--models", str(tiny_models)]
    assert main(command) == 2
    first, *others = capsys.readouterr().err.splitlines()
    assert first.startswith("text-classifier-train: error: 2 rows cannot be used: ")
    assert others == [f"  {data}: line {number}: the label is empty" for number in (7, 8)]
    assert main([*command, "--bad-rows", str(tmp_path / "bad.jsonl")]) == 0
    assert (tmp_path / "bad.jsonl").read_text().count("the label is empty") == 2


HOSTILE = (
    "<script>alert(1)</script> ![pixel](https://example.com/a.png) | [link](https://example.com) `code` *bold*\nline"
)


@pytest.fixture
def hostile(tmp_path: Path) -> tuple[Path, Path]:
    """A models folder and a file whose one text and its label are full of markup."""
    write_model(tmp_path / "models", "mine", labels=("<b>|x", "$y_z$", "plain"))
    version = tmp_path / "models" / "mine" / "1"
    ((_, right),) = _as(version, [HOSTILE])
    (wrong, *_) = (label for label in VersionFolder(version).labels if label != right)
    return tmp_path / "models", _write(tmp_path / "<i>.csv", [(HOSTILE, wrong)])


def _report(models: Path, data: Path, report: Path) -> str:
    command = ["evaluate", "--model", "mine", "--data", str(data), "--models", str(models), "--report", str(report)]
    assert main(command) == 0
    return report.read_text()


def test_the_html_report_holds_its_figures_and_shows_markup_as_text(hostile: tuple[Path, Path], tmp_path: Path) -> None:
    page = _report(*hostile, tmp_path / "report.html")
    assert len(re.findall(r'<img src="data:image/png;base64,iVBOR[^"]+"', page)) == 2
    assert set(re.findall(r'(?:src|href)="(?!data:)([^"]*)', page)) == set()
    assert not re.search(r"<(script|b|i|em|strong|code|a)[ >]", page.split("<body>")[1])
    assert "&lt;script&gt;alert(1)&lt;/script&gt; ![pixel](https://example.com/a.png) | [link]" in page
    assert "<td>&lt;b&gt;|x</td>" in page
    assert "<td>$y_z$</td>" in page
    assert "<title>mine, version 1, on &lt;i&gt;.csv</title>" in page


def test_the_markdown_report_has_its_figures_beside_it(hostile: tuple[Path, Path], tmp_path: Path) -> None:
    page = _report(*hostile, tmp_path / "my report.md")
    for name in ("confusion", "calibration"):
        assert f"(my%20report_{name}.png)" in page
        assert (tmp_path / f"my report_{name}.png").read_bytes().startswith(b"\x89PNG")
    assert r"\<script\>alert(1)" in page
    assert len(page.split(r"\<script\>")[1].split("\n")[0]) > 90  # on one line to its end


@pytest.mark.parametrize("names", [["a.html"], ["a.md", "a_confusion.png", "a_calibration.png"]], ids=["html", "md"])
def test_a_report_replaces_earlier_files_whole(hostile: tuple[Path, Path], names: list[str], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).write_text("old")
        (tmp_path / f"{name}.link").hardlink_to(tmp_path / name)
    _report(*hostile, tmp_path / names[0])
    for name in names:
        assert (tmp_path / name).read_bytes() != b"old"
        assert (tmp_path / f"{name}.link").read_text() == "old"  # not written in place


def test_a_report_is_written_without_a_figure_that_fails(
    hostile: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Figure:
        raise ValueError("[too large]")

    monkeypatch.setattr(evaluation_report, "confusion_matrix", fail)
    page = _report(*hostile, tmp_path / "report.html")
    assert page.count("<img ") == 1
    assert "<em>Texts by true and predicted label: missing. ValueError: [too large]</em>" in page
    assert "\nWarning: the figure confusion is missing: ValueError: [too large]\n" in capsys.readouterr().out


def test_the_pinned_version_is_evaluated_unless_another_is_named(
    half_right: Path, versions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "models"
    shutil.copytree(versions, models)
    command = ["evaluate", "--model", "sentiment", "--data", str(half_right), "--models", str(models)]

    def evaluated(*options: str) -> str:
        assert main([*command, *options]) == 0
        return capsys.readouterr().out

    assert "sentiment/2" in evaluated()
    (models / "sentiment" / "pin").write_text("1\n")
    assert "sentiment/1" in evaluated()
    assert "sentiment/2" in evaluated("--version", "2")


@pytest.mark.parametrize(
    ("correct", "says"),
    [
        (2, "sentiment/2 is better than sentiment/1: accuracy 1.0000 instead of "),
        (1, "sentiment/2 is worse than sentiment/1: accuracy "),
    ],
)
def test_compare_says_which_version_is_better_and_ends_with_status_0(
    correct: int, says: str, versions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = _write(tmp_path / "a.csv", _as(versions / "sentiment" / str(correct), _texts(600)))
    assert main(["compare", "sentiment/1", "sentiment/2", "--data", str(data), "--models", str(versions)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(says)
    assert "on 600 texts.\n" in said


def test_compare_of_a_version_with_itself_is_refused(
    half_right: Path, versions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(versions / "sentiment" / "1")
    assert main(["compare", folder, "sentiment/1", "--data", str(half_right), "--models", str(versions)]) == 2
    assert f"{folder} and sentiment/1 are the same version: name two" in capsys.readouterr().err


def test_compare_refuses_labels_that_neither_version_knows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        write_model(tmp_path, "mine")
    data = _write(tmp_path / "a.csv", [("the film", "grain")])
    assert main(["compare", "mine/1", "mine/2", "--data", str(data), "--models", str(tmp_path)]) == 2
    assert "knows none of the labels 'grain': its labels are " in capsys.readouterr().err


def test_compare_goes_by_the_names_of_the_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path, "mine")
    data = _write(tmp_path / "a.csv", _as(tmp_path / "mine" / "1", _texts(50)))
    write_model(tmp_path, "mine", labels=("positive", "new"))  # the same weights: the classes say something else now
    assert main(["compare", "mine/1", "mine/2", "--data", str(data), "--models", str(tmp_path)]) == 0
    assert "accuracy 0.0000 instead of 1.0000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["evaluate", "--model", "topic"],
            "knows none of the labels 'positive', 'neutral': its labels are 'grain'",
        ),
        (["evaluate", "--model", "sentiments"], "has no model 'sentiments': its models are sentiment, topic"),
        (["evaluate", "--model", "topic", "--version", "7"], "has no version 7: its versions are 1"),
        (["evaluate", "--model", "topic", "--report", "a.pdf"], "'a.pdf' ends neither in .html nor in .md"),
        (["evaluate", "--model", "topic", "--report", "nowhere/a.md"], "there is no folder nowhere"),
        (["evaluate", "--model", "topic", "--label-column", "queue"], "no column 'queue'"),
        (["compare", "sentiment/1", "sentiment/9"], "has no version 9: its versions are 1"),
        (["compare", "sentiment/1", "sentiments/1"], "has no model 'sentiments': its models are sentiment, topic"),
        (["compare", "sentiment/1", "sentiment/new"], "give NAME/VERSION of a model in"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(
    arguments: list[str], says: str, tiny_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = _write(tmp_path / "a.csv", [("the film", "positive"), ("a film", "neutral")])
    try:
        status = main([*arguments, "--data", str(data), "--models", str(tiny_models)])
    except SystemExit as exit_:
        status = int(exit_.code or 0)
    said = capsys.readouterr().err
    assert status == 2
    assert re.fullmatch(r"text-classifier-train: error: [^\n]+\n", said)
    assert says in said


@pytest.mark.parametrize("arguments", [["evaluate", "--model", "sentiment"], ["compare", "sentiment/1", "topic/1"]])
def test_a_file_without_texts_is_refused(
    arguments: list[str], tiny_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = _write(tmp_path / "a.csv", [])
    assert main([*arguments, "--data", str(data), "--models", str(tiny_models)]) == 2
    assert "a.csv: holds no text" in capsys.readouterr().err
    data.write_bytes("text,label\nein schöner Film,positive\nähnlich,negative\n".encode("latin-1"))
    assert main([*arguments, "--data", str(data), "--models", str(tiny_models)]) == 2
    assert "2 rows cannot be used" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["evaluate", "--model", "sentiment", "--report", "report.html"], ["compare", "sentiment/1", "topic/1"]],
    ids=["evaluate", "compare"],
)
def test_no_tensorflow_is_needed(arguments: list[str], tiny_models: Path, half_right: Path) -> None:
    script = (
        "import sys; from training.cli import main\n"
        "print(main(sys.argv[1:]), sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    arguments = [word.replace("report.html", str(half_right.with_name("report.html"))) for word in arguments]
    command = [sys.executable, "-c", script, *arguments, "--data", str(half_right), "--models", str(tiny_models)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "0 []"
