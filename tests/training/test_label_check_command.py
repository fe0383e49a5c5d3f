"""The command `check`: which rows it lists, from which files, and what it writes."""

import csv
import gzip
import json
import random
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from training.cli import main

Row = tuple[str, str]
TOPICS = {"bill": ("invoice", "refund", "receipt", "tax"), "bug": ("error", "crash", "freeze", "timeout")}


def rows(count: int = 60, seed: int = 0) -> list[Row]:
    """Returns texts of two labels in turn, all different, each with two words of its label."""
    chance = random.Random(seed)
    return [
        (f"{chance.choice(words)} and {chance.choice(words)} number {number} please", label)
        for number in range(count // 2)
        for label, words in TOPICS.items()
    ]


def write(path: Path, content: Sequence[Row], header: Row = ("text", "label"), delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *content])
    return path


def flipped(content: Sequence[Row], *numbers: int) -> list[Row]:
    """Gives rows, by their lines in a file with a header, the other label."""
    other = {"bill": "bug", "bug": "bill"}
    return [(text, other[label] if line in numbers else label) for line, (text, label) in enumerate(content, 2)]


def check(*arguments: object) -> int:
    return main(["check", "--data", *map(str, arguments)])


def listed(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_wrong_labels_are_listed_with_the_right_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, output = write(tmp_path / "f.csv", flipped(rows(), 9, 30)), tmp_path / "out.jsonl"
    assert check(data, "--output", output) == 0
    found = listed(output)
    assert sorted(each["line"] for each in found) == [9, 30]  # type: ignore[type-var]
    for each in found:
        text, given = flipped(rows(), 9, 30)[int(str(each["line"])) - 2]
        assert (each["file"], each["text"], each["label"]) == (str(data), text, given)
        assert each["suggested"] == {"bill": "bug", "bug": "bill"}[given]
        assert 0.3 < float(str(each["probability"])) < 1
    said = capsys.readouterr().out
    expected = round(sum(float(str(each["probability"])) for each in found))
    assert re.search(rf"2 rows to look at; about {expected} of their labels (is|are) wrong\.", said)
    assert "P(wrong)" in said
    assert f"Wrote 2 rows to {output}" in said


def test_without_wrong_labels_the_list_is_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.csv"
    assert check(write(tmp_path / "f.csv", rows()), "--output", output) == 0
    assert "60 rows checked: 0 rows to look at." in capsys.readouterr().out
    assert len(output.read_text().splitlines()) == 1


def test_the_most_certain_come_first(tmp_path: Path) -> None:
    content = [*flipped(rows(), 9), ("invoice and error number 99 please", "bug")]
    assert check(write(tmp_path / "f.csv", content), "--output", tmp_path / "out.jsonl") == 0
    found = listed(tmp_path / "out.jsonl")
    probabilities = [float(str(each["probability"])) for each in found]
    assert found[0]["line"] == 9
    assert probabilities == sorted(probabilities, reverse=True)


def test_rows_with_one_text_and_different_labels_come_first(tmp_path: Path) -> None:
    text = "invoice and refund number 99 please"
    content = [*flipped(rows(), 9), (text, "bill"), (f"{text.upper()}!", "bug"), (text, "bill")]
    assert check(write(tmp_path / "f.csv", content), "--output", tmp_path / "out.jsonl") == 0
    first, second = listed(tmp_path / "out.jsonl")
    assert (first["line"], first["suggested"], second["line"]) == (63, "bill", 9)
    assert first["same_text"] == f"{tmp_path / 'f.csv'}: 62"
    assert second["same_text"] == ""


def test_long_texts_leave_room_for_the_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = [(f"{text} {'as I said before ' * 30}", label) for text, label in flipped(rows(), 9)]
    assert check(write(tmp_path / "f.csv", content)) == 0
    (row,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("│"))
    assert [cell.strip() for cell in row.split("│")][1:4] == ["9", "bill", "bug"]
    assert "…" in row


def test_copies_with_one_wrong_label_do_not_hide_each_other(tmp_path: Path) -> None:
    copies = [("invoice and refund number 99 please", "bug")] * 4
    assert check(write(tmp_path / "f.csv", [*rows(), *copies]), "--output", tmp_path / "out.jsonl") == 0
    assert [each["line"] for each in listed(tmp_path / "out.jsonl")] == [62, 63, 64, 65]


def as_zip(path: Path) -> Path:
    with zipfile.ZipFile(path.with_suffix(".csv.zip"), "w") as archive:
        archive.write(path, path.name)
    return path.with_suffix(".csv.zip")


def as_gzip(path: Path) -> Path:
    path.with_suffix(".csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    return path.with_suffix(".csv.gz")


def as_json_lines(path: Path) -> Path:
    with path.open(newline="") as file:
        lines = [json.dumps(row) for row in csv.DictReader(file)]
    path.with_suffix(".jsonl").write_text("".join(f"{line}\n" for line in ["", *lines]))
    return path.with_suffix(".jsonl")


def as_parquet(path: Path) -> Path:
    with path.open(newline="") as file:
        parquet.write_table(pa.Table.from_pylist(list(csv.DictReader(file))), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


@pytest.mark.parametrize(("form", "number"), [(as_zip, 9), (as_gzip, 9), (as_json_lines, 9), (as_parquet, 8)])
def test_files_are_read_in_every_format(form: Callable[[Path], Path], number: int, tmp_path: Path) -> None:
    data = form(write(tmp_path / "f.csv", flipped(rows(), 9)))
    assert check(data, "--output", tmp_path / "out.jsonl") == 0
    ((file, line),) = [(each["file"], each["line"]) for each in listed(tmp_path / "out.jsonl")]
    assert (file, line) == (str(data), number)


def test_several_files_are_read_as_one_with_their_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, header = flipped(rows(), 9, 36), ("body", "queue")
    first, second = (
        write(tmp_path / name, some, header, ";") for name, some in (("a.csv", content[:30]), ("b.csv", content[30:]))
    )
    for path in (first, second):
        path.write_bytes(path.read_text().encode("utf-16"))
    options = ("--delimiter", ";", "--text-column", "body", "--label-column", "queue")
    assert check(first, second, *options, "--output", tmp_path / "out.csv") == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        found = {(row["file"], row["line"]): row for row in csv.DictReader(file)}
    assert set(found) == {(str(first), "9"), (str(second), "6")}
    assert found[str(first), "9"]["text"] == content[7][0]
    assert "b.csv: 6" in capsys.readouterr().out


def test_labels_go_by_meaning(tmp_path: Path) -> None:
    spelled = {"bill": ["0", "0.0", " 0 "], "bug": ["true", "TRUE", "True"]}
    content = [(text, spelled[label][at % 3]) for at, (text, label) in enumerate(flipped(rows(), 9))]
    assert check(write(tmp_path / "f.csv", content), "--output", tmp_path / "out.jsonl") == 0
    assert [(each["line"], each["label"], each["suggested"]) for each in listed(tmp_path / "out.jsonl")] == [
        (9, "0", "true")
    ]


@pytest.mark.parametrize(
    "topics",
    [
        {"bill": ("請求書が届きません", "返金してください"), "bug": ("画面が固まります", "エラーが出ます")},
        {"bill": ("청구서가 오지않았어요", "환불해 주세요"), "bug": ("화면이 멈췄습니다", "오류가 나왔어요")},
    ],
    ids=["Japanese", "Korean"],
)
def test_texts_of_any_script_are_checked(topics: dict[str, tuple[str, ...]], tmp_path: Path) -> None:
    chance = random.Random(0)
    content = [(f"{number}{chance.choice(topics[label])}", label) for number in range(30) for label in topics]
    assert check(write(tmp_path / "f.csv", flipped(content, 9, 30)), "--output", tmp_path / "out.jsonl") == 0
    assert sorted(each["line"] for each in listed(tmp_path / "out.jsonl")) == [9, 30]  # type: ignore[type-var]


def test_rows_that_cannot_be_used_are_an_error_or_set_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, output = write(tmp_path / "f.csv", [*flipped(rows(), 9), ("text", ""), ("more", " ")]), tmp_path / "o.jsonl"
    assert check(data, "--output", output) == 2
    assert "2 rows cannot be used" in capsys.readouterr().err
    assert not output.exists()
    assert check(data, "--output", output, "--bad-rows", tmp_path / "bad.jsonl") == 0
    assert [each["line"] for each in listed(output)] == [9]
    assert [each["line"] for each in listed(tmp_path / "bad.jsonl")] == [62, 63]


def test_a_label_with_few_texts_is_named_and_not_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = [*rows(), ("invoice and tax number 99 please", "bil"), ("!!", "bug")]
    assert check(write(tmp_path / "f.csv", content)) == 0
    said = capsys.readouterr().out
    assert "61 rows checked: 0 rows to look at." in said
    assert "Labels with fewer than 5 different texts, which cannot be checked: 'bil' (1 row)." in said
    assert "Left out 1 row without a word." in said


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty"),
        ("text,label\n", "holds no row that can be used: give others"),
        ("text,label\n!,a\n?,b\n", "holds no text with a word in it"),
        ("text,label\none,a\ntwo,a\n", "every text has the label 'a'"),
        ("text,label\none,a\ntwo,b\n", "two labels with 5 different texts each are needed"),
        ("text,label\n" + "one,a\n" * 9 + "two,b\n" * 9, "two labels with 5 different texts each are needed"),
        ("body,label\none,a\n", "no column 'text'"),
    ],
)
def test_files_without_enough_to_check_are_an_error(
    content: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "f.csv").write_text(content)
    assert check(tmp_path / "f.csv", "--output", tmp_path / "out.jsonl") == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("option", ["--output", "--bad-rows"])
def test_the_data_are_not_overwritten(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write(tmp_path / "f.csv", rows())
    before = data.read_bytes()
    assert check(data, option, data) == 2
    assert f"{option} {data} is another file of this command" in capsys.readouterr().err
    assert data.read_bytes() == before


@pytest.mark.parametrize(("folder", "reason"), [(None, "is a folder: name a file in it"), ("/proc", "cannot write ")])
def test_an_output_that_cannot_be_written_is_an_error_before_the_work(
    folder: str | None, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "f.csv", rows())
    (tmp_path / "out.csv").mkdir()
    # Not even root can create files in /proc.
    assert check(data, "--output", Path(folder or tmp_path, "out.csv")) == 2
    said = capsys.readouterr()
    assert reason in said.err
    assert not said.out


def test_only_the_first_rows_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = flipped(rows(400), *range(10, 400, 13))
    assert check(write(tmp_path / "f.csv", content)) == 0
    said = capsys.readouterr().out
    assert "Shown are the first 20: --output FILE writes all." in said
    assert sum(line.startswith("│") for line in said.splitlines()) == 20


def test_no_tensorflow_is_needed(tmp_path: Path) -> None:
    script = (
        "import sys; from training.cli import main\n"
        "print(main(['check', '--data', sys.argv[1]]), sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, str(write(tmp_path / "f.csv", rows()))]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "0 []"
