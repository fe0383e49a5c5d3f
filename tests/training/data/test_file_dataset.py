import json
import random
import subprocess
import sys
import unicodedata
from collections import Counter
from dataclasses import replace
from io import StringIO
from itertools import pairwise
from pathlib import Path
from tempfile import gettempdir

import numpy as np
import pytest
from rich.console import Console

from service.config import Config
from tests.full_disk import full_disk
from textfiles import InputError, ReadOptions
from textmodel.unicode_text import tokenize
from textmodel.vocabulary import FIRST_WORD, START, UNKNOWN
from training.data import file_dataset
from training.data.file_dataset import FileDataset, load
from training.data.labelled_file import LabelledFile, LabelledFiles, TrainingFiles
from training.data.quality import MAX_TEXT_BYTES
from training.settings import OWN_DATA, PRESETS

Rows = list[tuple[str, str]]
SETTINGS = PRESETS[OWN_DATA]["dense"]
WORDS = ("the", "a", "of", "film", "oil", "good", "bad", "Price", "don't", "café", "naïve")


def _file(path: Path, rows: Rows) -> LabelledFiles:
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    return LabelledFiles([LabelledFile(path)])


def _load(folder: Path, rows: Rows, test_rows: Rows | None = None, **changes: object) -> FileDataset:
    test = 0.2 if test_rows is None else _file(folder / "test.jsonl", test_rows)
    settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]
    return load(TrainingFiles(_file(folder / "data.jsonl", rows), test), settings, Console(file=StringIO()))


def _rows(count: int, labels: tuple[str, ...] = ("no", "yes")) -> Rows:
    """Returns different texts, sorted by label."""
    chance = random.Random(5)
    texts = [f"{' '.join(chance.choices(WORDS, range(11, 0, -1), k=12))} n{number}" for number in range(count)]
    return [(text, labels[number * len(labels) // count]) for number, text in enumerate(texts)]


def _words(data: FileDataset, sequence: np.ndarray) -> str:
    return " ".join(data.vocabulary.entries[index] for index in sequence[1:])


def test_each_text_is_in_one_part_with_its_label_and_its_words(tmp_path: Path) -> None:
    rows = _rows(100)
    data = _load(tmp_path, rows, num_words=1000)
    known = set(data.vocabulary.entries)
    expected = [
        (" ".join(word if word in known else "[UNKNOWN]" for word in tokenize(text)), label) for text, label in rows
    ]
    found = [
        (_words(data, sequence), data.labels[label])
        for part in (data.training, data.test)
        for sequence, label in zip(part.sequences, part.classes, strict=True)
    ]
    assert len(data.training) + len(data.test) == 100
    assert 12 <= len(data.test) <= 30
    assert Counter(label for _, label in found) == {"no": 50, "yes": 50}
    assert sorted(found) == sorted(expected)
    assert all(sequence[0] == START and sequence.dtype == np.int32 for sequence in data.test.sequences)


def test_the_vocabulary_ranks_words_of_the_training_texts_by_frequency(
    tmp_path: Path,
) -> None:
    training = [("b a", "x"), ("a c", "x"), ("d c", "y"), ("A e\r!", "y")]
    test = [("z z z z b b b b b d", "x"), ("z", "y")]
    data = _load(tmp_path, training, test)
    assert data.vocabulary.entries[FIRST_WORD:] == ("a", "c", "b", "d", "e")
    assert data.test.sequences[0].tolist() == [START, *[UNKNOWN] * 4, *[6] * 5, 7]
    smaller = _load(tmp_path, training, test, num_words=6)
    assert smaller.vocabulary.entries == data.vocabulary.entries[:6]
    assert smaller.test.sequences[0].tolist() == [START, *[UNKNOWN] * 10]


def test_both_splits_are_stratified_and_the_validation_texts_come_first(tmp_path: Path) -> None:
    data = _load(tmp_path, _rows(300, ("a", "b", "c")), validation_split=0.25)
    held_out, others = data.training.split(data.validation_texts)
    for part in (data.test, held_out):
        assert all(13 <= count <= 30 for count in np.bincount(part.classes))
    for part in (held_out, others):
        assert sum(a != b for a, b in pairwise(part.classes.tolist())) > len(part) / 3  # shuffled


def test_the_same_seed_gives_the_same_data_and_another_seed_another_split(tmp_path: Path) -> None:
    first, again, other = (_load(tmp_path, _rows(50), seed=seed) for seed in (1, 1, 2))
    texts = [[_words(data, sequence) for sequence in data.training.sequences] for data in (first, again, other)]
    assert texts[0] == texts[1] != texts[2]


def test_labels_are_sorted(tmp_path: Path) -> None:
    assert _load(tmp_path, _rows(40, ("b", "a", "É", "Z"))).labels == ("Z", "a", "b", "É")


def test_what_is_odd_is_counted_and_texts_that_no_server_takes_are_left_out(tmp_path: Path) -> None:
    rows = [
        *_rows(30),
        ("", "yes"),
        (" ?!\n", "no"),
        ("é" * (MAX_TEXT_BYTES // 2) + "a", "no"),
        ("é" * (MAX_TEXT_BYTES // 2), "no"),
        *[("twice", "yes")] * 2,
        ("both", "yes"),
        ("both", "no"),
    ]
    data = _load(tmp_path, rows, [("both", "no"), ("new", "yes"), ("", "yes")])
    quality = data.quality
    assert (quality.rows, quality.without_words, quality.too_long) == (41, 3, 1)
    assert (quality.copies, quality.conflicts, quality.seen_in_training) == (3, 3, 1)
    assert (len(data.training), len(data.test)) == (35, 2)


@pytest.mark.parametrize(
    ("symbols", "features", "left_out"), [(3, "auto", 4), (4, "auto", 1), (4, "words", 5), (4, "characters", 1)]
)
def test_rows_of_symbols_are_kept_for_characters_from_a_tenth_on(
    symbols: int, features: str, left_out: int, tmp_path: Path
) -> None:
    rows = [*_rows(35), *[("?" * number, "yes") for number in range(1, 1 + symbols)], ("", "yes")]
    data = _load(tmp_path, rows, [("new", "yes"), ("!", "no")], preset="ngram", features=features)
    assert data.quality.without_words == left_out + (left_out > 1)
    assert (len(data.training), len(data.test)) == (36 + symbols - left_out, 1 + (left_out == 1))


def test_texts_of_the_same_words_are_on_one_side_of_each_split(tmp_path: Path) -> None:
    rows = [(copy, label) for text, label in _rows(40) for copy in (text, text, f" {text.upper()}!\n")]
    data = _load(tmp_path, rows, num_words=1000)
    assert data.quality.copies == 80
    assert data.quality.seen_in_training == 0
    validation, others = data.training.split(data.validation_texts)
    sides = [{_words(data, sequence) for sequence in part.sequences} for part in (validation, others)]
    assert not sides[0] & sides[1]


def test_texts_stay_on_their_side_as_the_file_grows(tmp_path: Path) -> None:
    rows = [row for pair in zip(_rows(1200, ("no",)), _rows(1200, ("yes",)), strict=True) for row in pair]
    rows = [(f"{text} {label}", label) for text, label in rows]
    small, large = (_load(tmp_path, rows[:count]) for count in (1200, 2400))
    assert set(small.test_hashes.tolist()) < set(large.test_hashes.tolist())
    assert set(small.training_hashes.tolist()) < set(large.training_hashes.tolist())
    assert not set(large.test_hashes.tolist()) & set(large.training_hashes.tolist())


def test_the_texts_lie_beside_their_words(tmp_path: Path) -> None:
    data = _load(tmp_path, [(f"{text}!\r\n 日本", label) for text, label in _rows(40)], num_words=1000)
    for part in (*data.training.split(data.validation_texts), data.test):
        assert part.texts is not None
        assert [data.vocabulary.indices(text) for text in part.texts] == [list(words) for words in part.sequences]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\u2028", "\u3000", "\0"])
def test_line_ends_and_white_space_of_any_kind_separate_words(end: str, tmp_path: Path) -> None:
    rows = [(end.join([text, "the parcel", "thanks"]) + end, label) for text, label in _rows(40)]
    expected = _load(tmp_path, [(text.replace(end, "\n"), label) for text, label in rows])
    data = _load(tmp_path, rows)
    assert data.vocabulary.entries == expected.vocabulary.entries
    assert data.test_hashes.tolist() == expected.test_hashes.tolist()


def test_unicode_forms_of_a_text_are_one(tmp_path: Path) -> None:
    rows = [(f"재미있는 영화 café {text}", label) for text, label in _rows(40)]
    composed, decomposed = (
        _load(tmp_path, [(unicodedata.normalize(form, text), label) for text, label in rows]) for form in ("NFC", "NFD")
    )
    assert composed.vocabulary.entries == decomposed.vocabulary.entries
    assert composed.test_hashes.tolist() == decomposed.test_hashes.tolist()


def test_unknown_words_are_counted_and_a_high_share_is_explained(tmp_path: Path) -> None:
    rows = list(enumerate(label for _, label in _rows(200)))
    known = _load(tmp_path, [(f"good {label} film {number % 50}", label) for number, label in rows])
    assert known.quality.unknown_in_test < 0.1
    assert not known.quality.warnings()
    unknown = _load(
        tmp_path, [(f"word{number} other{number} the", label) for number, (_, label) in enumerate(_rows(200))]
    )
    assert unknown.quality.unknown_in_validation == pytest.approx(2 / 3)
    assert unknown.quality.unknown_in_test == pytest.approx(2 / 3)
    (warning,) = unknown.quality.warnings()
    assert warning.startswith("67% of the words of the validation texts are unknown")


def test_a_full_disk_for_temporary_files_is_an_error_that_names_their_folder(tmp_path: Path) -> None:
    rows = [("word " * 5000 + text, label) for text, label in _rows(40)]
    files = TrainingFiles(_file(tmp_path / "data.jsonl", rows), 0.2)
    with pytest.raises(InputError, match=f"^cannot write temporary files to {gettempdir()}: .*TMPDIR$"), full_disk(99):
        load(files, SETTINGS, Console(file=StringIO()))


def test_rows_that_an_open_quotation_mark_merged_are_reported(tmp_path: Path) -> None:
    lines = [f"{text}\t{label}" for text, label in _rows(300)]
    lines[100], lines[180] = f'"{lines[100]}', f'{lines[180]}"\tyes'
    (tmp_path / "a.tsv").write_text("\n".join(["text\tlabel", *lines]))
    files = LabelledFiles([LabelledFile(tmp_path / "a.tsv")])
    console = Console(file=StringIO())
    data = load(TrainingFiles(files, 0.2), SETTINGS, console)
    assert (data.quality.rows, data.quality.merged) == (220, 1)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Warning: 1 row with many lines that look like rows, the first at" in said
    assert "a.tsv: line 102: if a quotation mark is not closed there" in said
    options = ReadOptions(quoting=False)
    bad = TrainingFiles(LabelledFiles([LabelledFile(tmp_path / "a.tsv", options=options)]), 0.2, tmp_path / "bad.jsonl")
    assert load(bad, SETTINGS, console).quality.rows == 300


def test_labels_that_look_like_lists_are_reported(tmp_path: Path) -> None:
    rows = _rows(60, ("sports", "politics", "sports, politics"))
    assert "labels that look like lists of labels: 'sports, politics':" in _load(tmp_path, rows).quality.warnings()[0]


def test_labels_that_differ_in_their_spelling_alone_are_reported(tmp_path: Path) -> None:
    rows = _rows(99, ("Spam", "spam", "not  spam", "not spam", "１", "01", "1", "ham", "10"))
    (warning,) = _load(tmp_path, rows).quality.warnings()[:1]
    assert warning.startswith("labels that differ only in case, width, white space or the form of a number: ")
    assert "'01', '1', '１', 'Spam', 'spam' and 2 more: each is a class of its own" in warning


def test_words_of_ngram_models_are_known_as_the_model_knows_them(tmp_path: Path) -> None:
    chance = random.Random(0)
    japanese = ["".join(chance.choices("東京大阪山川田中人口上下", k=12)) for _ in range(200)]
    rows = [(text, "ab"[number % 2]) for number, text in enumerate(japanese)]
    quality = _load(tmp_path, rows, preset="ngram", features="auto").quality
    assert quality.unknown_in_validation < 0.05
    assert quality.unknown_in_test < 0.05
    foreign = [(f"한국어 문장 {number}", "a") for number in range(9)]
    assert _load(tmp_path, rows, foreign, preset="ngram", features="auto").quality.unknown_in_test > 0.8
    assert _load(tmp_path, rows, preset="ngram", features="words").quality.unknown_in_test > 0.8  # whole runs alone


def test_several_files_are_one_and_labels_of_one_meaning_are_one_class(tmp_path: Path) -> None:
    rows = _rows(80, ("0", "1"))
    first = _file(tmp_path / "a.jsonl", rows[:20] + rows[60:]).files[0]
    (tmp_path / "b.csv").write_text("text,label\n" + "".join(f"{text},{label}.0\n" for text, label in rows[20:60]))
    files = LabelledFiles([first, LabelledFile(tmp_path / "b.csv")])
    data = load(TrainingFiles(files, 0.2), SETTINGS, Console(file=StringIO()))
    assert data.labels == ("0", "1")
    assert data.name == "a.jsonl and 1 other file"
    assert len(data.training) + len(data.test) == 80
    assert TrainingFiles(files, 0.2).arguments()[:3] == ["--data", "a.jsonl", "b.csv"]


def test_bad_rows_are_set_aside_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in _rows(40)) + "odd\nc,\n")
    files = LabelledFiles([LabelledFile(path)])
    with pytest.raises(InputError, match="2 rows cannot be used"):
        load(TrainingFiles(files, 0.2), SETTINGS, Console(file=StringIO()))
    bad = TrainingFiles(files, 0.2, tmp_path / "bad.jsonl")
    data = load(bad, SETTINGS, Console(file=StringIO()))
    assert (data.quality.rows, data.quality.bad) == (42, 2)
    assert len((tmp_path / "bad.jsonl").read_text().splitlines()) == 2
    assert len(list(file_dataset.test_rows(bad, data))) == len(data.test)


def test_the_longest_text_is_what_a_server_takes_by_default() -> None:
    assert Config().max_text_bytes == MAX_TEXT_BYTES


@pytest.mark.parametrize(
    ("rows", "test_rows", "says"),
    [
        ([], None, "data.jsonl: is empty"),
        ([("", "a"), ("?", "b")], None, "holds no text with a word in it"),
        ([("w", "a"), ("v", "a")], None, "every text has the label 'a': two labels are needed"),
        ([("w", "a" * 81), ("v", "a" * 81)], None, f"every text has the label '{'a' * 79}…': two labels are needed"),
        (
            [(text, label) for text, _ in _rows(20) for label in "ab"],
            None,
            r"'b' has 0 \(and 20 that occur earlier with",
        ),
        (_rows(16, tuple("abcdefgh")), None, "'e' has 2 and 3 more labels"),
        (_rows(20), [("", "yes")], "test.jsonl: holds no text to test on"),
        (_rows(20), [("a", "yes"), ("a", "maybe")], "test.jsonl: line 2: no text to train on has the label 'maybe'; "),
        (_rows(20), [("a", "yes"), ("a", "YES")], "no text to train on has the label 'YES', but one that differs only"),
        ([("\uffff", "a"), ("\uffff1", "a"), ("\uffff2", "b"), ("\uffff3", "b")], [("\uffff", "a")], "no word that a"),
    ],
)
def test_data_that_cannot_be_split_are_an_error(rows: Rows, test_rows: Rows | None, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        _load(tmp_path, rows, test_rows)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("separate_test", [False, True])
def test_a_label_of_few_texts_stays_in_the_part_to_train_on(count: int, separate_test: bool, tmp_path: Path) -> None:
    rows = [*_rows(20), *[(f"new {number}", "x") for number in range(count)]]
    data = _load(tmp_path, rows, _rows(20) if separate_test else None)
    (rare,) = (number for number, label in enumerate(data.labels) if label == "x")
    assert rare in data.training.classes[data.validation_texts :]
    assert rare not in data.test.classes
    assert data.quality.rare_labels == (("x",) if count == 1 or not separate_test else ())


@pytest.mark.parametrize("rows", ["", "text without a label\n"])
@pytest.mark.parametrize("test", [0.2, _rows(20)])
def test_files_without_a_row_to_train_on_are_named(rows: str, test: float | Rows, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"text,label\n{rows}")
    data = LabelledFiles([LabelledFile(tmp_path / "a.csv")])
    test_files = test if isinstance(test, float) else _file(tmp_path / "test.jsonl", test)
    files = TrainingFiles(data, test_files, tmp_path / "bad.jsonl")
    with pytest.raises(InputError, match=r"a\.csv: holds no row that can be used: give a file with texts and labels$"):
        load(files, SETTINGS, Console(file=StringIO()))
    assert (tmp_path / "bad.jsonl").read_text().count("\n") == rows.count("\n")


_GROWTH = """
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console

from training.data.labelled_file import LabelledFile, LabelledFiles, TrainingFiles
from training.data.file_dataset import load
from training.settings import OWN_DATA, PRESETS


def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


before = resident("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
files = LabelledFiles([LabelledFile(Path(sys.argv[1]))])
load(TrainingFiles(files, 0.2), PRESETS[OWN_DATA]["dense"], Console(file=StringIO()))
print(resident("VmHWM") - before)
"""
"""Prints how many bytes of memory a process needs more to load a file."""


def test_memory_grows_by_the_indices_and_not_by_the_text(tmp_path: Path) -> None:
    chance = random.Random(0)
    long_words = [f"{'long' * 10}{number}" for number in range(500)]
    lines = [" ".join(chance.choices(long_words, k=100)) for _ in range(500)]
    path = tmp_path / "large.csv"
    with path.open("w") as file:
        file.write("text,label\n")
        file.writelines(f"{number} {lines[number % 500]},{number % 2}\n" for number in range(15_000))
    assert path.stat().st_size > 65_000_000
    run = subprocess.run([sys.executable, "-c", _GROWTH, path], capture_output=True, text=True, check=True)
    growth = int(run.stdout)
    indices = 4 * 102 * 15_000
    # Pages and imports make it vary between 30 and 38 MB. The text alone would be 65 MB.
    assert indices < growth < 0.75 * path.stat().st_size


@pytest.mark.parametrize("test_rows", [None, [("Good film", "yes"), ("bad", "no"), ("", "no")]], ids=["drawn", "file"])
def test_the_test_rows_are_the_test_texts_again(test_rows: Rows | None, tmp_path: Path) -> None:
    rows = [*_rows(40), ("", "yes"), ("é" * MAX_TEXT_BYTES, "no")]
    data = _load(tmp_path, rows, test_rows, num_words=1000)
    data_file, test_file = (LabelledFiles([LabelledFile(tmp_path / f"{name}.jsonl")]) for name in ("data", "test"))
    files = TrainingFiles(data_file, 0.2 if test_rows is None else test_file)
    again = list(file_dataset.test_rows(files, data))
    assert Counter(tuple(data.vocabulary.indices(row.text)) for row in again) == Counter(
        tuple(sequence.tolist()) for sequence in data.test.sequences
    )
    assert Counter(row.label for row in again) == Counter(data.labels[label] for label in data.test.classes)


def test_test_texts_that_are_training_texts_are_warned_of_above_a_hundredth(tmp_path: Path) -> None:
    rows, other = _rows(200), [(f"later film {number}", label) for number, (_, label) in enumerate(_rows(200))]
    few, many = (_load(tmp_path, rows, [*other, *rows[:seen]]).quality for seen in (2, 50))
    assert few.seen_in_training == 2
    assert not any("training texts too" in warning for warning in few.warnings())
    assert sum("50 of 250 test texts (20.0%) are training texts too" in warning for warning in many.warnings()) == 1


def test_contradictory_labels_are_warned_of_above_a_hundredth(tmp_path: Path) -> None:
    rows = _rows(400)
    few, many = (_load(tmp_path, [*rows, *((text, "yes") for text, _ in rows[:some:2])]).quality for some in (4, 40))
    assert (few.conflicts, many.conflicts) == (4, 40)
    assert not any("several labels" in warning for warning in few.warnings())
    assert sum("40 of 420 rows with a label (9.5%)" in warning for warning in many.warnings()) == 1


@pytest.mark.parametrize(("features", "advised"), [("words", True), ("characters", False), ("auto", False)])
def test_characters_are_advised_against_unknown_words_where_the_run_has_words_alone(
    features: str, advised: bool, tmp_path: Path
) -> None:
    rows = [(f"word{number} other{number} the", label) for number, (_, label) in enumerate(_rows(200))]
    warnings = _load(tmp_path, rows, preset="ngram", features=features).quality.warnings()
    (unknown,) = (warning for warning in warnings if "of the words of the validation texts are unknown: " in warning)
    assert ("--features both or characters" in unknown) == advised


@pytest.mark.parametrize(("words", "differs"), [("good film", False), ("unheard of", True)])
def test_test_texts_with_far_more_unknown_words_than_validation_texts_are_reported(
    words: str, differs: bool, tmp_path: Path
) -> None:
    rows = [(f"good film {number % 9} {number}", label) for number, (_, label) in enumerate(_rows(200))]
    test = [(f"{words} {number % 9} {number + 200}", label) for number, (_, label) in enumerate(_rows(200))]
    warnings = _load(tmp_path, rows, test, preset="ngram", features="auto").quality.warnings()
    expected = "74% of the words of the test texts are unknown, but 24% of those of the validation texts: "
    assert sum(warning.startswith(expected) for warning in warnings) == differs
