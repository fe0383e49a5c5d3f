"""How rows with soft labels and weights come to training, validation and test."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from textfiles import InputError
from training.data import file_dataset
from training.data.file_dataset import FileDataset, load
from training.data.labelled_file import LabelledFile, LabelledFiles, TrainingFiles
from training.data.soft_labels import SoftColumns
from training.data.text_hashes import text_hash
from training.settings import OWN_DATA, PRESETS

Row = Mapping[str, Any]
SETTINGS = replace(PRESETS[OWN_DATA]["dense"], num_words=1000)
SOFT = SoftColumns({"no": "p_no", "yes": "p_yes"})
WEIGHTED = SoftColumns({}, "w")


def _labelled(count: int) -> list[Row]:
    return [{"text": f"review number {n}", "label": ("no", "yes")[n % 2]} for n in range(count)]


def _soft(count: int, p_yes: float = 0.25) -> list[Row]:
    return [{"text": f"comment number {n}", "p_no": 1 - p_yes, "p_yes": p_yes} for n in range(count)]


def _files(folder: Path, rows: Sequence[Row], columns: SoftColumns, test: Sequence[Row] | None) -> TrainingFiles:
    for name, some in (("data", rows), ("test", test or [])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    data = LabelledFiles([LabelledFile(folder / "data.jsonl", soft=columns)])
    return TrainingFiles(data, 0.2 if test is None else LabelledFiles([LabelledFile(folder / "test.jsonl")]))


def _load(
    folder: Path, rows: Sequence[Row], columns: SoftColumns = SOFT, test: Sequence[Row] | None = None
) -> FileDataset:
    return load(_files(folder, rows, columns, test), SETTINGS, Console(file=StringIO()))


def _learned(data: FileDataset) -> dict[str, tuple[list[float], list[float]]]:
    """Returns what each training text is learned as and judged by."""
    learned, judged = data.training.learned(2).toarray(), data.training.judged(2).toarray()
    return dict(zip(data.training.texts or (), zip(learned.tolist(), judged.tolist(), strict=True), strict=True))


def test_only_texts_with_a_label_are_tested(tmp_path: Path) -> None:
    data = _load(tmp_path, [*_labelled(40), *_soft(200)])
    assert all(text.startswith("review") for text in data.test.texts or ())
    assert 5 <= len(data.test) <= 12
    assert len(data.training) == 240 - len(data.test)
    assert data.quality.soft is not None
    assert (data.quality.soft.soft, data.quality.soft.unlabelled, data.quality.soft.left_out) == (200, 200, 0)


def test_the_test_texts_are_those_of_the_labelled_file_alone(tmp_path: Path) -> None:
    alone, both = _load(tmp_path, _labelled(60), SoftColumns()), _load(tmp_path, [*_labelled(60), *_soft(100)])
    assert sorted(alone.test_hashes.tolist()) == sorted(both.test_hashes.tolist())


def test_a_text_with_both_is_learned_by_its_soft_label_and_judged_by_its_label(tmp_path: Path) -> None:
    rows = [{**row, "p_no": 0.25, "p_yes": 0.75} for row in _labelled(40)]
    data = _load(tmp_path, rows)
    for text, (learned, judged) in _learned(data).items():
        assert learned == [0.25, 0.75]
        assert judged == ([1, 0] if int(text.split()[-1]) % 2 == 0 else [0, 1])
    assert set(data.test.classes.tolist()) == {0, 1}
    assert data.test.targets is None


def test_a_copy_of_a_test_text_without_a_label_is_left_out(tmp_path: Path) -> None:
    copies = [{"text": f"{row['text'].upper()}!", "p_no": 0.5, "p_yes": 0.5} for row in _labelled(40)]
    files = _files(tmp_path, [*_labelled(40), *copies], SOFT, None)
    data = load(files, SETTINGS, Console(file=StringIO()))
    assert data.quality.soft is not None
    assert data.quality.soft.left_out == len(data.test)
    assert not set(data.training_hashes.tolist()) & set(data.test_hashes.tolist())
    assert [row.label for row in file_dataset.test_rows(files, data)].count("") == 0
    assert len(list(file_dataset.test_rows(files, data))) == len(data.test)


def test_soft_labels_alone_are_enough_with_test_data(tmp_path: Path) -> None:
    others = [{**row, "text": f"other {row['text']}"} for row in _soft(20, 0.9)]
    data = _load(tmp_path, [*_soft(20), *others], test=_labelled(4))
    assert data.labels == ("no", "yes")
    assert (len(data.training), len(data.test)) == (40, 4)
    found = sorted(learned for learned, _ in _learned(data).values())
    np.testing.assert_allclose(found, [[0.1, 0.9]] * 20 + [[0.75, 0.25]] * 20)


def test_weights_multiply_what_is_learned_and_judged_and_a_weight_of_0_is_no_row(tmp_path: Path) -> None:
    rows = [{**row, "w": n % 3} for n, row in enumerate(_labelled(60))]
    data = _load(tmp_path, rows, WEIGHTED)
    kept = {text_hash(row["text"]) for row in rows if row["w"]}
    assert set(data.training_hashes.tolist()) | set(data.test_hashes.tolist()) == kept
    for text, (learned, judged) in _learned(data).items():
        assert learned == judged
        assert sum(learned) == int(text.split()[-1]) % 3
    soft = data.quality.soft
    assert soft is not None
    assert (soft.soft, soft.without_weight) == (0, 20)
    assert soft.weight == data.training.learned(2).sum()
    without = _load(tmp_path, [row for row in rows if row["w"]], WEIGHTED)
    np.testing.assert_array_equal(without.training_hashes, data.training_hashes)


def test_rows_of_weight_0_are_no_test_texts_when_these_are_read_again(tmp_path: Path) -> None:
    rows = [{**row, "w": 1} for row in _labelled(40)]
    copies = [{**row, "text": row["text"].upper(), "w": 0} for row in rows]
    files = _files(tmp_path, [*rows, *copies], WEIGHTED, None)
    data = load(files, SETTINGS, Console(file=StringIO()))
    assert len(list(file_dataset.test_rows(files, data))) == len(data.test)


def test_weights_and_probabilities_multiply(tmp_path: Path) -> None:
    rows = [{**row, "w": 4} for row in _soft(20)]
    data = _load(tmp_path, rows, SoftColumns(SOFT.probabilities, "w"), test=_labelled(4))
    assert {tuple(learned) for learned, _ in _learned(data).values()} == {(3.0, 1.0)}


def test_a_label_that_no_text_to_train_on_teaches_is_reported(tmp_path: Path) -> None:
    columns = SoftColumns({**SOFT.probabilities, "maybe": "p_maybe"})
    soft = [{**row, "p_no": 0.746, "p_maybe": 0.004} for row in _soft(40)]
    (warning,) = _load(tmp_path, [*_labelled(20), *soft], columns).quality.warnings()[:1]
    assert "labels that no text to train on teaches: 'maybe': no label, and no probability of 0.01 or more" in warning
    soft[0] |= {"p_no": 0.0, "p_maybe": 0.75}
    taught = _load(tmp_path, [*_labelled(20), *soft], columns).quality
    assert not any("teaches" in warning for warning in taught.warnings())


def test_bad_soft_labels_are_set_aside_and_counted(tmp_path: Path) -> None:
    bad: list[dict[str, object]] = [
        {"text": "x", "p_no": 0.5, "p_yes": "half"},
        {"text": "y", "p_no": 0.5, "p_yes": 0.1},
        {"text": "z"},
    ]
    files = replace(_files(tmp_path, [*_labelled(20), *_soft(20), *bad], SOFT, None), bad_rows=tmp_path / "bad.jsonl")
    data = load(files, SETTINGS, Console(file=StringIO()))
    assert (data.quality.rows, data.quality.bad) == (43, 3)
    aside = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    assert [row["line"] for row in aside] == [41, 42, 43]


def test_files_without_such_columns_have_no_targets_beside_the_classes(tmp_path: Path) -> None:
    data = _load(tmp_path, _labelled(20), SoftColumns())
    assert data.training.targets is None
    assert data.quality.soft is None


@pytest.mark.parametrize(
    ("rows", "columns", "test", "says"),
    [
        (_soft(20), SOFT, None, "no text has a label to be tested by: give labelled texts as --test-data"),
        (_labelled(20), SOFT, None, "no text has probabilities: check --probability-columns"),
        (_soft(20, 1.0), SOFT, _labelled(4), "all texts to train on have the same label"),
        (_soft(1), SOFT, _labelled(4), "too few texts are left to train on"),
        # The only text of each label is for validation.
        ([*_soft(1, 1.0), {**_soft(1, 0.0)[0], "text": "b"}], SOFT, _labelled(4), "too few texts are left to train on"),
        ([{**row, "text": "?"} for row in _soft(9)], SOFT, _labelled(4), "holds no text with a word in it"),
        ([{**row, "w": 0} for row in _labelled(20)], WEIGHTED, None, "the weight of every text is 0"),
        ([{**row, "w": n < 2} for n, row in enumerate(_labelled(20))], WEIGHTED, None, "'w' is True, no number"),
        (
            [{**row, "w": int(n < 2)} for n, row in enumerate(_labelled(20))],
            WEIGHTED,
            None,
            "two labels need 3 different texts",
        ),
        (
            [{**row, "w": int(row["label"] == "yes")} for row in _labelled(20)],
            WEIGHTED,
            None,
            "two labels are needed: all rows of 'no' have the weight 0: check --weight-column",
        ),
        (_soft(20), SOFT, [{"text": "x", "label": "may be"}], "no text to train on has the label 'may be'"),
    ],
)
def test_rows_that_cannot_be_split_are_an_error(
    rows: Sequence[Row], columns: SoftColumns, test: Sequence[Row] | None, says: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as error:
        _load(tmp_path, rows, columns, test)
    assert says in " ".join([str(error.value), *error.value.details])


def test_a_label_without_a_weight_above_0_is_warned_of(tmp_path: Path) -> None:
    rows: list[Row] = [{**row, "w": 1} for row in _labelled(40)]
    rows += [{"text": f"lost {n}", "label": "lost", "w": 0} for n in range(5)]
    rows += [{"text": "review without", "label": "yes", "w": 0}]
    data = _load(tmp_path, rows, WEIGHTED)
    (warning,) = (each for each in data.quality.warnings() if "weight 0" in each)
    assert warning.startswith("labels of which every text has the weight 0: 'lost': ")
    assert "5 texts" in warning
