"""What is read of a capture, and what labels make of it."""

import json
from pathlib import Path

import pytest

from textfiles import InputError
from training.data.labelled_file import LabelledFile, LabelledText
from training.evaluation.captured import Captured, Pair, PairAnswers, read_captured

VERSIONS = {"model": "m", "version": 1, "shadow_version": 2}


def text_line(text: str, label: str, shadow_label: str) -> dict[str, object]:
    answers = {"agrees": label == shadow_label, "label": label, "shadow_label": shadow_label}
    return {"kind": "text", **VERSIONS, **answers, "text": text}


def compared(texts: int, disagreements: int, dropped: int = 0) -> dict[str, object]:
    return {"kind": "compared", **VERSIONS, "texts": texts, "disagreements": disagreements, "dropped": dropped}


def read(folder: Path, *lines: dict[str, object]) -> Captured:
    (folder / "captured-1-1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (found,) = read_captured(folder).values()
    return found


def labelled(folder: Path, *rows: tuple[str, str]) -> list[tuple[LabelledFile, LabelledText]]:
    file = LabelledFile(folder / "labels.csv", "text", "label")
    return [(file, LabelledText(text, label, number)) for number, (text, label) in enumerate(rows, 2)]


@pytest.mark.parametrize(("truth", "gain"), [("y", 1), ("x", -1), ("z", 0)])
def test_the_gain_of_a_text_is_that_of_the_shadow(truth: str, gain: int) -> None:
    assert PairAnswers("x", "y").gain(truth) == gain


def test_files_of_a_capture_are_summed_up_for_each_pair(tmp_path: Path) -> None:
    other = {**text_line("c", "x", "y"), "shadow_version": 3}
    lines = [compared(10, 2, 1), text_line("a", "x", "y"), text_line("b", "x", "x"), other]
    (tmp_path / "captured-1-1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    more = [compared(5, 1, 2), text_line(" a\n", "x", "y")]
    (tmp_path / "captured-2-1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in more) + '{"kind"')
    found = read_captured(tmp_path)
    assert list(found) == [Pair("m", 1, 2), Pair("m", 1, 3)]
    assert str(Pair("m", 1, 2)) == "m, version 1 in service and 2 as its shadow"
    first = found[Pair("m", 1, 2)]
    assert (first.texts, first.disagreements, first.dropped) == (15, 3, 3)
    assert (first.disagreeing, dict(first.counts), first.labels) == ({"a": PairAnswers("x", "y")}, {"a": 2}, {"x", "y"})


def test_a_capture_with_a_foreign_line_or_without_a_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no file captured-"):
        read_captured(tmp_path)
    (tmp_path / "captured-1-1.jsonl").write_text(json.dumps(compared(1, 0)) + "\n{}\n")
    with pytest.raises(InputError, match=r"captured-1-1.jsonl, line 2: .*it is no line of a capture"):
        read_captured(tmp_path)


def test_a_judgement_counts_texts_as_often_as_they_came_and_what_was_lost(tmp_path: Path) -> None:
    texts = [text_line("a", "x", "y")] * 3 + [text_line("b", "x", "y"), text_line("c", "x", "y")]
    captured = read(tmp_path, compared(100, 9), *texts)
    rows = labelled(tmp_path, ("a", "y"), ("b", "x"), ("c", "odd"), ("a ", "y"), ("never", "y"))
    judgement = captured.judge(rows)
    live = judgement.comparison
    assert (live.texts, live.disagreements, live.different_texts) == (100, 9, 3 + 4)
    assert (live.gains.tolist(), live.counts.tolist()) == ([1, -1, 0], [3, 1, 1])
    assert (judgement.other_rows, dict(judgement.new_labels)) == (1, {"odd": 1})
    assert [note.partition(" ")[0] for note in judgement.notes()] == ["Left", "Neither"]


def test_a_judgement_without_anything_to_know_has_no_notes(tmp_path: Path) -> None:
    captured = read(tmp_path, compared(9, 1), text_line("a", "x", "y"))
    assert captured.judge(labelled(tmp_path, ("a", "y"))).notes() == []


def test_labels_that_contradict_or_fit_nothing_are_an_error(tmp_path: Path) -> None:
    captured = read(tmp_path, compared(9, 1), text_line("a", "x", "y"))
    with pytest.raises(InputError, match=r"labels.csv: line 3: the label 'x' contradicts .* which has 'y'"):
        captured.judge(labelled(tmp_path, ("a", "y"), ("a", "x")))
    with pytest.raises(InputError, match="no row has the text of a captured disagreement"):
        captured.judge(labelled(tmp_path, ("b", "y")))


def test_a_capture_without_a_disagreement_is_told_as_that(tmp_path: Path) -> None:
    captured = read(tmp_path, compared(156, 0))
    with pytest.raises(InputError, match="the versions agree on all 156 texts: there is nothing to judge"):
        captured.judge(labelled(tmp_path, ("b", "y")))


def test_a_capture_with_more_texts_than_it_counts_is_an_error(tmp_path: Path) -> None:
    captured = read(tmp_path, compared(9, 1), text_line("a", "x", "y"), text_line("b", "x", "y"))
    with pytest.raises(InputError, match=r"holds 2 disagreements, but its lines .* count 1"):
        captured.judge(labelled(tmp_path, ("a", "y")))
