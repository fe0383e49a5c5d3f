"""The command `select`: which texts of a pool it chooses, from which files, and what it writes."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.tiny_model import WORDS, write_model
from textmodel import VersionFolder, load_engine
from training.cli import main
from training.data import text_hashes

TEXTS = [f"{first} {second} {third}" for first in WORDS for second in WORDS[:5] for third in WORDS[5:]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`m` with version 1 in service and version 2 as its shadow."""
    models = tmp_path_factory.mktemp("select") / "models"
    write_model(models, "m", labels=("a", "b", "c"))
    write_model(models, "m", labels=("a", "b", "c"), seed=5)
    (models / "m" / "shadow").write_text("2")
    return models


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    path = tmp_path / "pool.txt"
    path.write_text("\n".join([*TEXTS, "", "  "]))
    return path


def select(models: Path, pool: Path, output: Path, *options: str) -> int:
    files = ["--models", str(models), "--model", "m", "--pool", str(pool), "--output", str(output)]
    return main(["select", *files, *options])


def written(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def predicted(models: Path, version: int, texts: list[str]) -> list[str]:
    labels = VersionFolder(models / "m" / str(version)).labels
    winners = load_engine(models / "m" / str(version)).classify(texts).probabilities.argmax(axis=1)
    return [labels[winner] for winner in winners]


def test_by_margin_the_most_doubtful_come_first(models: Path, pool: Path, tmp_path: Path) -> None:
    assert select(models, pool, tmp_path / "out.jsonl", "--count", "10") == 0
    chosen = [str(task["text"]) for task in written(tmp_path / "out.jsonl")]
    probabilities = np.sort(load_engine(models / "m" / "1").classify(chosen).probabilities, axis=1)
    margins = probabilities[:, -1] - probabilities[:, -2]
    assert len(chosen) == 10
    assert margins.tolist() == sorted(margins.tolist())
    everything = np.sort(load_engine(models / "m" / "1").classify(TEXTS).probabilities, axis=1)
    assert margins[0] == pytest.approx((everything[:, -1] - everything[:, -2]).min())


def test_by_disagreement_the_versions_differ_on_all(models: Path, pool: Path, tmp_path: Path) -> None:
    assert select(models, pool, tmp_path / "out.jsonl", "--by", "disagreement", "--count", "5") == 0
    tasks = written(tmp_path / "out.jsonl")
    texts = [str(task["text"]) for task in tasks]
    labels = list(zip(predicted(models, 1, texts), predicted(models, 2, texts), strict=True))
    assert labels
    assert all(first != second for first, second in labels)
    assert [tuple(task["meta"]["predicted"]) for task in tasks] == labels  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "near_duplicate", "other"),
    [
        (
            "the a film moving dull oil café don't one two",
            "the a film moving dull oil café don't one two three",
            "text",
        ),
        ("この映画はとても面白いと思いました", "この映画はとても面白いと思います", "料理が美味しいお店です"),
        ("이 영화 정말 재미있게 봤습니다", "이 영화 정말 재미있게봤습니다!!", "배우들의 연기가 좋았다"),
        ("a", "A!", "b"),
    ],
    ids=["English", "Japanese", "Korean", "one letter"],
)
def test_of_near_duplicates_one_is_chosen(
    text: str, near_duplicate: str, other: str, models: Path, tmp_path: Path
) -> None:
    pool = tmp_path / "pool.txt"
    pool.write_text(f"{text}\n{text.upper()}!\n{near_duplicate}\n{other}\n")
    assert select(models, pool, tmp_path / "out.jsonl") == 0
    chosen = [str(task["text"]) for task in written(tmp_path / "out.jsonl")]
    assert len(chosen) == 2
    assert other in chosen


def test_texts_that_have_a_label_are_left_out(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool, labelled = tmp_path / "pool.txt", tmp_path / "round1.csv"
    pool.write_text("dull film\nmoving oil\ncafé, don't\n")
    labelled.write_text('text,label\n"Café - don\'t",a\n')
    learned = models / "m" / "1" / "assets.extra" / text_hashes.FILE
    text_hashes.write(learned, [text_hashes.text_hash("DULL FILM!")])
    try:
        assert select(models, pool, tmp_path / "out.jsonl", "--labelled", str(labelled)) == 0
    finally:
        learned.unlink()
    assert [task["text"] for task in written(tmp_path / "out.jsonl")] == ["moving oil"]
    assert capsys.readouterr().out.splitlines() == [
        "Left out 2 texts of the pool that a version has learned or that are in --labelled.",
        f"Wrote 1 text to {tmp_path / 'out.jsonl'}: the pool has no more, of 200 asked for",
    ]


def test_a_pool_of_several_files_says_where_each_text_is(models: Path, tmp_path: Path) -> None:
    pools = [tmp_path / "a.txt", tmp_path / "b.csv"]
    pools[0].write_text("dull film\n")
    pools[1].write_text("text\nmoving oil\n")
    assert select(models, pools[0], tmp_path / "out.jsonl", "--pool", str(pools[1])) == 0
    meta = {str(task["text"]): task["meta"] for task in written(tmp_path / "out.jsonl")}
    assert [meta[text]["file"] for text in ("dull film", "moving oil")] == [str(path) for path in pools]  # type: ignore[index]
    assert [meta[text]["line"] for text in ("dull film", "moving oil")] == [1, 2]  # type: ignore[index]


@pytest.mark.parametrize(
    ("texts", "options", "reason"),
    [
        ([], [], "the pool has no text"),
        ([" "], [], "the pool has no text"),
        (["!!!", " ", "...", "dull film"], [], "no word is in the 2 texts of the pool without a label"),
        (["dull film"], [], "each text of the pool (1) is learned by a version or in --labelled"),
        (["!!!"], ["--by", "disagreement"], "no word is in the 1 text of the pool without a label, or"),
    ],
)
def test_a_pool_without_a_text_to_choose_is_an_error_that_says_why(
    texts: list[str],
    options: list[str],
    reason: str,
    models: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tmp_path = models.parent
    pool, labelled = tmp_path / "pool.csv", tmp_path / "labelled.csv"
    pool.write_text("".join(f"{text}\n" for text in ["text", *texts]))
    labelled.write_text("text\ndull film\n")
    assert select(models, pool, tmp_path / "out.jsonl", "--labelled", str(labelled), *options) == 2
    assert f"no text was chosen: {reason}" in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()


def test_the_pool_is_not_overwritten(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool = tmp_path / "pool.jsonl"
    pool.write_text('{"text": "dull film"}\n')
    assert select(models, pool, tmp_path / "." / "pool.jsonl") == 2
    assert "is another file of this command" in capsys.readouterr().err
    assert pool.read_text() == '{"text": "dull film"}\n'


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "txt.gz"])
def test_pools_are_read_in_every_format(ending: str, models: Path, tmp_path: Path) -> None:
    pool, texts = tmp_path / f"pool.{ending}", ["dull film", 'oil, "gas"', "moving"]
    if ending == "parquet":
        parquet.write_table(pa.table({"body": [*texts, None]}), pool)
    elif ending == "jsonl":
        pool.write_text("".join(json.dumps({"body": text}) + "\n" for text in texts))
    elif ending == "csv":
        pool.write_text('body,n\ndull film,1\n"oil, ""gas""",2\nmoving,3\n')
    else:
        pool.write_bytes(gzip.compress("\r\n".join(texts).encode()))
    assert select(models, pool, tmp_path / "out.jsonl", "--text-column", "body") == 0
    assert {str(task["text"]) for task in written(tmp_path / "out.jsonl")} == set(texts)


def test_a_json_file_holds_an_array(models: Path, pool: Path, tmp_path: Path) -> None:
    assert select(models, pool, tmp_path / "tasks.json", "--count", "3") == 0
    assert len(json.loads((tmp_path / "tasks.json").read_text())) == 3


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--other-version", "2"], "--other-version needs --by disagreement"),
        (["--by", "disagreement", "--other-version", "1"], "is the version itself"),
        (["--by", "disagreement", "--other-version", "9"], "has no version 9"),
        (["--model", "../m"], "is no name of a model"),
    ],
)
def test_wrong_options_are_an_error_and_write_nothing(
    options: list[str], reason: str, models: Path, pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path = pool.parent
    assert select(models, pool, tmp_path / "out.jsonl", *options) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()


def test_rows_that_cannot_be_used_are_an_error_or_set_aside(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool, bad_rows = tmp_path / "pool.jsonl", tmp_path / "bad.jsonl"
    pool.write_text('{"text": "dull"}\n{"text": 1}\n{"other": "a"}\n{"text": null}\nno JSON\n')
    assert select(models, pool, tmp_path / "out.jsonl") == 2
    said = capsys.readouterr().err
    assert "3 rows cannot be used" in said
    assert f"{pool}: line 2: 'text' holds a value of type int, no string" in said
    assert not (tmp_path / "out.jsonl").exists()
    assert select(models, pool, tmp_path / "out.jsonl", "--bad-rows", str(bad_rows)) == 0
    assert [json.loads(line)["line"] for line in bad_rows.read_text().splitlines()] == [2, 3, 5]
    assert [task["text"] for task in written(tmp_path / "out.jsonl")] == ["dull"]
