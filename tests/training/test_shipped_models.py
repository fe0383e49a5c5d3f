"""The models in `models/`, on the raw test texts behind the data sets."""

from pathlib import Path

import numpy as np
import pytest

from tests import raw_texts
from textmodel import VersionFolder, load_engine
from textmodel.names import EngineKind
from training.cli import main
from training.data.keras_datasets import LABELS

MODELS = Path(__file__).parents[2] / "models"
LABELS_OF = {**LABELS, "nsmc": ("negative", "positive")}
EXPECTED = {"imdb/1": 0.875, "imdb/2": 0.917, "reuters/1": 0.785, "reuters/2": 0.845, "nsmc/1": 0.88}
NSMC = ["--features", "characters", "--char-ngrams", "1,5", "--char-spans", "across-words", "--cost", "0.3"]


def test_every_shipped_version_is_tested() -> None:
    assert {f"{path.parent.name}/{path.name}" for path in MODELS.glob("*/[0-9]*")} == EXPECTED.keys()


@pytest.mark.parametrize("version", EXPECTED)
def test_a_shipped_model_is_as_good_as_expected_and_named_as_its_folder(version: str) -> None:
    folder = VersionFolder(MODELS / version)
    assert folder.metadata.name == folder.path.parent.name
    assert folder.labels == LABELS_OF[folder.metadata.name]
    assert folder.metadata.test_metrics.accuracy >= EXPECTED[version]


@pytest.mark.parametrize("version", EXPECTED)
@pytest.mark.parametrize("kind", ["tensorflow", "compiled"])
def test_a_shipped_model_answers_its_probes_in_every_engine(version: str, kind: EngineKind) -> None:
    load_engine(MODELS / version, kind)


@pytest.mark.parametrize("version", EXPECTED)
def test_the_metadata_of_a_shipped_model_hold_the_digests_of_its_files(version: str) -> None:
    folder = VersionFolder(MODELS / version)
    assert folder.metadata.sha256 == folder.sha256()


def test_the_korean_model_stays_small() -> None:
    assert _size(MODELS / "nsmc" / "1") < 20_000_000


def test_the_korean_model_knows_korean_words_and_few_others() -> None:
    texts = [
        "정말 재미있는 영화 입니다 연기 최고",
        "A moving and beautifully shot film",
        "это очень хороший фильм",
        "这部电影很好看",
    ]
    answer = load_engine(MODELS / "nsmc" / "1").classify(texts)
    assert answer.words.tolist() == [6, 6, 4, 1]
    assert (answer.known_words / answer.words).round(1).tolist() == [1.0, 0.5, 0.0, 0.0]


@pytest.mark.parametrize("version", EXPECTED)
def test_a_shipped_model_has_its_stated_accuracy_on_the_raw_test_texts(version: str, data_dir: Path) -> None:
    folder = VersionFolder(MODELS / version)
    texts, labels = raw_texts.test_rows(data_dir, folder.metadata.name)
    engine = load_engine(folder.path)
    winners = np.concatenate(
        [engine.classify(texts[at : at + 512]).probabilities.argmax(axis=1) for at in range(0, len(texts), 512)]
    )
    found = np.mean([folder.labels[winner] == label for winner, label in zip(winners, labels, strict=True)])
    assert found == pytest.approx(folder.metadata.test_metrics.accuracy, abs=0.001)


@pytest.mark.parametrize("name", ["imdb", "reuters", "nsmc"])
def test_training_makes_the_shipped_model_again(name: str, data_dir: Path, tmp_path: Path) -> None:
    if name == "nsmc":
        data, test_data = (str(data_dir / f"nsmc-{part}.jsonl.gz") for part in ("train", "test"))
        command, version = ["--name", "nsmc", "--data", data, "--test-data", test_data, *NSMC], "1"
    else:
        command, version = [name, "--preset", "ngram", "--data-dir", str(data_dir)], "2"
    assert main([*command, "--models", str(tmp_path)]) == 0
    shipped, made = VersionFolder(MODELS / name / version), VersionFolder(tmp_path / name / "1")
    assert made.metadata.test_metrics.accuracy == pytest.approx(shipped.metadata.test_metrics.accuracy, abs=1e-4)
    assert made.metadata.training == shipped.metadata.training
    texts = [probe.text for probe in shipped.probes]
    answers = load_engine(made.path).classify(texts).probabilities
    np.testing.assert_allclose(answers, [probe.probabilities for probe in shipped.probes], atol=1e-3)
    assert _size(made.path) == pytest.approx(_size(shipped.path), rel=0.01)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
