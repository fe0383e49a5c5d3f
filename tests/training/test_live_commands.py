"""The command `judge`: from a capture folder and a file of labels to the verdict, and to a promoted version."""

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from textmodel import VersionFolder
from textmodel.metadata import Abstention
from textmodel.version_folder import pinned_version, served_version, shadow_version
from training.cli import main
from training.data import text_hashes

SHIPPED = Path(__file__).parents[2] / "models" / "nsmc" / "1"
WEIGHTS = {"weights.safetensors", "training_texts.npy"}
VERSIONS = {"model": "m", "version": 1, "shadow_version": 2}


def text_line(text: str, label: str, shadow_label: str, **versions: int) -> dict[str, object]:
    agrees = label == shadow_label
    answers = {"label": label, "probability": 0.6, "shadow_label": shadow_label, "shadow_probability": 0.7}
    about = {"time": "2026-01-01T00:00:00+00:00", "request_id": "", "agrees": agrees, "text": text}
    return {"kind": "text", **VERSIONS, **versions, **answers, **about}


def counted(texts: int, disagreements: int, dropped: int = 0, **versions: int) -> dict[str, object]:
    return {"kind": "compared", **VERSIONS, **versions} | {
        "texts": texts,
        "disagreements": disagreements,
        "dropped": dropped,
    }


class Judged:
    """A capture of 1,000 texts with 40 disagreements, which the labels give to the shadow; and a models folder."""

    def __init__(self, folder: Path) -> None:
        self.captured, self.labels, self.models = folder / "captured", folder / "labels.csv", folder / "models"
        self.captured.mkdir(parents=True)
        for version in "12":
            shutil.copytree(
                SHIPPED / "assets.extra", self.models / "m" / version / "assets.extra", ignore=lambda *_: WEIGHTS
            )
            shutil.copytree(SHIPPED / "assets", self.models / "m" / version / "assets")
        (self.models / "m" / "shadow").write_text("2")
        texts = [text_line(f"text {number}", "x", "y") for number in range(40)]
        self.write("captured-1-1.jsonl", counted(600, 20, dropped=5), *texts[:20], text_line("agreed", "x", "x"))
        self.write("captured-2-1.jsonl", counted(400, 20), *texts[20:])
        self.label("y", 40)

    def write(self, name: str, *lines: dict[str, object]) -> None:
        (self.captured / name).write_text("".join(json.dumps(line) + "\n" for line in lines))

    def label(self, label: str, count: int) -> None:
        rows = [f"text {number},{label}" for number in range(count)]
        self.labels.write_text("\n".join(["text,label", *rows, "never captured,x"]) + "\n")

    def judge(self, *more: str) -> int:
        options = ["--captured", str(self.captured), "--labels", str(self.labels), "--models", str(self.models)]
        return main(["judge", *options, *more])


@pytest.fixture
def judged(tmp_path: Path) -> Judged:
    return Judged(tmp_path)


def test_a_better_shadow_is_promoted_when_that_is_asked(judged: Judged, capsys: pytest.CaptureFixture[str]) -> None:
    model = judged.models / "m"
    assert judged.judge() == 0
    said = capsys.readouterr().out
    assert f"{model}/2 is better than {model}/1: difference of accuracy +0.0400 (95% interval +0.02" in said
    assert "on 1,000 texts; labels for 40 of 40 disagreements" in said
    assert "under load: 5 texts" in said
    assert served_version(model) == 1
    assert judged.judge("--promote") == 0
    assert f"Promoted: {model}/2 is pinned by {model}/pin" in capsys.readouterr().out
    assert (pinned_version(model), shadow_version(model), served_version(model)) == (2, None, 2)
    assert sorted(path.name for path in model.iterdir()) == ["1", "2", "pin"]


def test_a_better_shadow_without_a_label_or_thresholds_is_promoted_only_if_allowed(
    judged: Judged, capsys: pytest.CaptureFixture[str]
) -> None:
    model = judged.models / "m"
    incumbent = VersionFolder(model / "1")
    msgspec.structs.replace(incumbent.metadata, abstention=Abstention(0.9, (0.7, 0.8))).write(incumbent.metadata_file)
    assert judged.judge("--promote") == 0
    assert f"Not promoted: {model}/1 is in service and has thresholds" in (said := capsys.readouterr().out)
    assert "--allow-removed-thresholds" in said
    (model / "1" / "assets" / "labels.txt").write_text("negative\npositive\nneutral\n")
    assert judged.judge("--promote", "--allow-removed-thresholds") == 0
    assert f"Not promoted: {model}/2 lacks labels of {model}/1: 'neutral'; --allow-removed-labels" in (
        capsys.readouterr().out
    )
    assert served_version(model) == 1
    assert judged.judge("--promote", "--allow-removed-thresholds", "--allow-removed-labels") == 0
    assert served_version(model) == 2


def test_a_shadow_is_not_promoted_over_a_version_that_it_was_not_compared_with(
    judged: Judged, capsys: pytest.CaptureFixture[str]
) -> None:
    model = judged.models / "m"
    shutil.copytree(model / "2", model / "3")
    assert judged.judge("--promote") == 0
    said = f"Not promoted: {model}/3 is in service now, and {model}/2 was compared with version 1.\n"
    assert capsys.readouterr().out.endswith(said)
    assert (pinned_version(model), shadow_version(model)) == (None, 2)


@pytest.mark.parametrize(("label", "count", "said"), [("x", 40, "is worse than"), ("y", 3, "it is undecided whether")])
def test_without_evidence_for_it_a_shadow_is_not_promoted(
    judged: Judged, capsys: pytest.CaptureFixture[str], label: str, count: int, said: str
) -> None:
    judged.label(label, count)
    assert judged.judge("--promote") == 0
    output = capsys.readouterr().out
    assert said in output
    assert output.endswith("Not promoted.\n")
    assert shadow_version(judged.models / "m") == 2


def test_lost_disagreements_count_as_unlabelled(judged: Judged, capsys: pytest.CaptureFixture[str]) -> None:
    judged.write("captured-3-1.jsonl", counted(1_000, 60))
    assert judged.judge() == 0
    assert "difference of accuracy +0.0500" in capsys.readouterr().out  # 100 disagreements of 2,000


def test_one_of_several_pairs_has_to_be_chosen(judged: Judged, capsys: pytest.CaptureFixture[str]) -> None:
    other = {"version": 2, "shadow_version": 3}
    judged.write("captured-3-1.jsonl", counted(10, 1, **other), text_line("text 1", "x", "y", **other))
    assert judged.judge() == 2
    assert "m, version 1 in service and 2 as its shadow; m, version 2 in service and 3" in capsys.readouterr().err
    assert judged.judge("--versions", "2,3") == 0
    assert "on 10 texts" in capsys.readouterr().out
    assert judged.judge("--model", "n") == 2
    assert "no such pair of versions was captured" in capsys.readouterr().err


def test_a_line_that_the_server_is_writing_is_left_out(judged: Judged, capsys: pytest.CaptureFixture[str]) -> None:
    with (judged.captured / "captured-2-1.jsonl").open("a") as file:
        file.write('{"kind": "text", "mod')
    assert judged.judge() == 0
    assert "on 1,000 texts" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ("text,label\nnever captured,x\n", "no row has the text of a captured disagreement"),
        ("text,label\ntext 1,x\ntext 1,y\n", "line 3: the label 'y' contradicts an earlier row"),
        ("text,label\ntext 1,\n", "line 2: "),
    ],
)
def test_labels_that_cannot_be_used_are_an_error(
    judged: Judged, capsys: pytest.CaptureFixture[str], labels: str, reason: str
) -> None:
    judged.labels.write_text(labels)
    assert judged.judge() == 2
    assert reason in capsys.readouterr().err


def test_a_damaged_capture_is_an_error_that_names_its_line(judged: Judged, capsys: pytest.CaptureFixture[str]) -> None:
    (judged.captured / "captured-2-1.jsonl").write_text('{"kind": "other"}\n')
    assert judged.judge() == 2
    assert "captured-2-1.jsonl, line 1: " in capsys.readouterr().err


def test_an_empty_capture_is_an_error(judged: Judged, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judged.captured = tmp_path
    assert judged.judge() == 2
    assert "holds no file captured-*.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize("spelling", ["text  1 ", "\r\ntext 1", "text\u00a01"])
def test_labels_are_found_whatever_became_of_white_space(
    judged: Judged, spelling: str, capsys: pytest.CaptureFixture[str]
) -> None:
    judged.labels.write_text(f'text,label\n"{spelling}",y\n', newline="")
    assert judged.judge() == 0
    assert "labels for 1 of 40 disagreements" in capsys.readouterr().out


def test_labels_go_by_meaning(judged: Judged, capsys: pytest.CaptureFixture[str]) -> None:
    for path in judged.captured.iterdir():
        path.write_text(path.read_text().replace('"x"', '"0.0"').replace('"y"', '"True"'))
    judged.label("true", 40)
    assert judged.judge() == 0
    assert f"{judged.models}/m/2 is better" in capsys.readouterr().out
    judged.label("0", 40)
    assert judged.judge() == 0
    assert f"{judged.models}/m/2 is worse" in capsys.readouterr().out


def test_labels_that_no_version_gave_and_other_rows_are_told(
    judged: Judged, capsys: pytest.CaptureFixture[str]
) -> None:
    judged.labels.write_text("text,label\ntext 1,Y\ntext 2,y\nnever captured,y\n")
    assert judged.judge() == 0
    said = capsys.readouterr().out
    assert "Left out 1 row without the text of a captured disagreement." in said
    assert "Neither version gave the labels 'Y' of 1 text: both count as wrong." in said


def test_labels_are_read_as_other_files_are(judged: Judged, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more, bad_rows = tmp_path / "more.csv", tmp_path / "bad.jsonl"
    judged.labels.write_bytes("text;label\ntext 1;y\ntext 2;\n".encode("utf-16"))
    more.write_text("text;label\ntext 3;y\n")
    assert judged.judge("--labels", str(more), "--delimiter", ";", "--bad-rows", str(bad_rows)) == 0
    assert "labels for 2 of 40 disagreements" in capsys.readouterr().out
    assert json.loads(bad_rows.read_text())["line"] == 3


def test_a_capture_that_lacks_its_counts_is_an_error(judged: Judged, capsys: pytest.CaptureFixture[str]) -> None:
    for path in judged.captured.iterdir():
        path.write_text("".join(line for line in path.open() if '"compared"' not in line))
    assert judged.judge() == 2
    assert "the capture holds 40 disagreements, but its lines of the kind 'compared' count 0" in capsys.readouterr().err


def learn(version: Path, *texts: str) -> None:
    text_hashes.write(version / "assets.extra" / text_hashes.FILE, map(text_hashes.text_hash, texts))


def test_disagreements_on_texts_that_a_version_has_learned_are_left_out(
    judged: Judged, capsys: pytest.CaptureFixture[str]
) -> None:
    model = judged.models / "m"
    learn(model / "1", *(f"TEXT {number}!" for number in range(20)))
    learn(model / "2", *(f"text {number}" for number in range(10, 37)))
    assert judged.judge("--promote") == 0
    said = capsys.readouterr().out
    assert "difference of accuracy +0.0031" in said  # 3 of 963
    assert "on 963 texts; labels for 3 of 3 disagreements" in said
    assert "Left out 37 disagreements on texts that one of the versions has learned." in said
    assert "is not recorded" not in said
    assert said.endswith("Not promoted.\n")
    judged.write("captured-3-1.jsonl", counted(1_000, 40))  # which the files lack: as many of them are learned
    (model / "1").rename(model / "001")  # the same version
    assert judged.judge() == 0
    assert "on 1,926 texts; labels for 3 of 6 disagreements" in capsys.readouterr().out
    learn(model / "001", *(f"text {number}" for number in range(40)))
    assert judged.judge() == 2
    assert "one of the versions has learned all 40 texts with a label" in capsys.readouterr().err


def test_judge_says_which_version_does_not_record_what_it_has_learned(
    judged: Judged, capsys: pytest.CaptureFixture[str]
) -> None:
    learn(judged.models / "m" / "1", "another text")
    assert judged.judge() == 0
    said = capsys.readouterr().out
    assert f"Which texts {judged.models}/m/2 learned is not recorded" in said
    assert "There is no folder" not in said
    shutil.rmtree(judged.models / "m" / "2")
    assert judged.judge() == 0
    assert f"There is no folder {judged.models}/m/2: check --models." in capsys.readouterr().out
