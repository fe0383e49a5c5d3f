"""The models in `models/`, on the raw test texts behind the data sets."""

from pathlib import Path

import numpy as np
import pytest

from tests import raw_texts
from textmodel import VersionFolder, load_engine
from textmodel.names import EngineKind
from training.data.keras_datasets import LABELS

MODELS = Path(__file__).parents[2] / "models"
LABELS_OF = {**LABELS, "nsmc": ("negative", "positive")}
EXPECTED = {"imdb": 0.875, "reuters": 0.785, "nsmc": 0.88}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_shipped_model_is_as_good_as_expected_and_named_as_its_folder(name: str) -> None:
    folder = VersionFolder(MODELS / name / "1")
    assert folder.metadata.name == name
    assert folder.labels == LABELS_OF[name]
    assert folder.metadata.test_metrics.accuracy >= EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("kind", ["tensorflow", "compiled"])
def test_a_shipped_model_answers_its_probes_in_every_engine(name: str, kind: EngineKind) -> None:
    load_engine(MODELS / name / "1", kind)


def test_the_korean_model_stays_small() -> None:
    assert sum(path.stat().st_size for path in (MODELS / "nsmc" / "1").rglob("*") if path.is_file()) < 20_000_000


@pytest.mark.parametrize("name", EXPECTED)
def test_a_shipped_model_has_its_stated_accuracy_on_the_raw_test_texts(name: str, data_dir: Path) -> None:
    texts, labels = raw_texts.test_rows(data_dir, name)
    engine = load_engine(MODELS / name / "1")
    winners = np.concatenate(
        [engine.classify(texts[at : at + 512]).probabilities.argmax(axis=1) for at in range(0, len(texts), 512)]
    )
    found = np.mean([LABELS_OF[name][winner] == label for winner, label in zip(winners, labels, strict=True)])
    assert found == pytest.approx(VersionFolder(MODELS / name / "1").metadata.test_metrics.accuracy, abs=0.001)
