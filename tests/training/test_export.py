from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.training import made_up
from textmodel.engine import Engine
from textmodel.metadata import PaddedSequence
from textmodel.tensorflow_engine import TensorFlowEngine
from textmodel.vocabulary import Vocabulary
from training.classifiers.classifier import Classifier
from training.classifiers.dense import DenseClassifier
from training.classifiers.ngram import NGramClassifier
from training.data.keras_datasets import Examples, SplitDataset, load
from training.export import export
from training.settings import PRESETS, Settings

Exported = tuple[Classifier, Vocabulary, Engine, Path]


SMALL: dict[str, dict[str, Any]] = {
    "multi-hot": {"learning_rate": 0.05},
    "embedding": {"vectorizer": "embedding", "sequence_length": 6, "embedding_dim": 4, "learning_rate": 0.05},
    "ngrams": {"buckets": 64, "min_df": 1, "cost": 1.0},
}


def _fitted_ngram(settings: Settings, data: SplitDataset) -> NGramClassifier:
    classifier = NGramClassifier(settings, len(data.labels))
    classifier.fit(data.training)
    return classifier


@pytest.fixture(
    scope="module",
    params=[
        ("imdb", "multi-hot"),
        ("reuters", "embedding"),
        ("reuters", "multi-hot"),
        ("imdb", "ngrams"),
        ("reuters", "ngrams"),
    ],
)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A fitted classifier, and the engine of its export."""
    data_set, vectorizer = request.param
    folder = tmp_path_factory.mktemp("export")
    data = load(data_set, made_up.write_files(folder / "data"), 30)
    preset = PRESETS[data_set]["ngram" if vectorizer == "ngrams" else "dense"]
    settings = replace(preset, num_words=30, **SMALL[vectorizer])
    if vectorizer == "ngrams":
        classifier: Classifier = _fitted_ngram(settings, data)
    else:
        classifier = dense = DenseClassifier(settings, len(data.labels))
        dense.fit(data.training, 3, keras.callbacks.Callback())
    export(classifier, data.vocabulary, data.labels, folder / "model")
    return classifier, data.vocabulary, TensorFlowEngine(folder / "model"), folder / "model"


@given(
    texts=st.lists(st.lists(st.sampled_from([*made_up.WORDS, "nowhere", "\0", "", "Good!"])).map(" ".join), min_size=1)
)
@hypothesis_settings(max_examples=15)
def test_the_exported_graph_answers_as_the_keras_network(exported: Exported, texts: list[str]) -> None:
    classifier, vocabulary, engine, _ = exported
    sequences = [np.array(vocabulary.indices(text), np.int32) for text in texts]
    expected = classifier.probabilities(Examples(sequences, np.zeros(len(texts), np.int64)))
    np.testing.assert_allclose(engine.classify(texts).probabilities, expected, rtol=0, atol=1e-5)


def test_the_exported_graph_counts_words_and_known_words(exported: Exported) -> None:
    *_, engine, _ = exported
    answer = engine.classify(["", "Good, GOOD film nowhere!", "...", "nowhere"])
    assert answer.words.tolist() == [0, 4, 0, 1]
    assert answer.known_words.tolist() == [0, 3, 0, 0]


def test_the_checkpoint_holds_the_weights_under_the_keys_that_engines_read(exported: Exported) -> None:
    classifier, *_, path = exported
    reader = tf.train.load_checkpoint(str(path / "variables" / "variables"))
    dense = [f"dense/{number}/{part}" for number in range(len(classifier.layers)) for part in ("kernel", "bias")]
    names, weights = dense, classifier.dense_weights()
    if isinstance(classifier, NGramClassifier):
        names, weights = ["features/scale", *dense], [classifier.scale, *weights]
    elif isinstance(classifier, DenseClassifier) and isinstance(classifier.vectorizer, PaddedSequence):
        names, weights = ["embedding", *dense], classifier.network.get_weights()
    keys = [f"{name}/.ATTRIBUTES/VARIABLE_VALUE" for name in names]
    assert {*keys, "_CHECKPOINTABLE_OBJECT_GRAPH"} == set(reader.get_variable_to_shape_map())
    for key, weight in zip(keys, weights, strict=True):
        np.testing.assert_array_equal(reader.get_tensor(key), weight, strict=True)


def test_the_saved_model_has_one_signature_and_its_files_as_assets(exported: Exported) -> None:
    *_, path = exported
    assert list(tf.saved_model.load(str(path)).signatures) == ["serving_default"]
    assert sorted(file.name for file in (path / "assets").iterdir()) == ["labels.txt", "vocabulary.txt"]


def test_the_saved_model_moves_with_its_folder(exported: Exported, tmp_path: Path) -> None:
    *_, engine, path = exported
    moved = path.rename(tmp_path / "moved")
    try:
        answer = TensorFlowEngine(moved).classify(["good film"])
    finally:
        moved.rename(path)
    np.testing.assert_array_equal(answer.probabilities, engine.classify(["good film"]).probabilities)
