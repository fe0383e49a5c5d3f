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


def test_of_near_duplicates_one_is_chosen(models: Path, tmp_path: Path) -> None:
    pool = tmp_path / "pool.txt"
    long = "the a film moving dull oil café don't one two"
    pool.write_text(f"{long}\n{long.upper()}!\n{long} three\nanother text\n")
    assert select(models, pool, tmp_path / "out.jsonl") == 0
    assert len(written(tmp_path / "out.jsonl")) == 2


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


def test_a_row_that_cannot_be_used_names_its_line(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = tmp_path / "pool.jsonl"
    pool.write_text('{"text": "a"}\n{"text": 1}\n')
    assert select(models, pool, tmp_path / "out.jsonl") == 2
    assert f"{pool}: line 2: 'text' holds no string" in capsys.readouterr().err
