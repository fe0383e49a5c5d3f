from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from textmodel import ngrams
from training.classifiers.dense import best_epoch
from training.classifiers.ngram import NGramClassifier
from training.classifiers.temperature_scaling import Calibration
from training.data.keras_datasets import Examples, load
from training.settings import PRESETS, Settings

SMALL = replace(PRESETS["imdb"]["ngram"], num_words=30, buckets=64, min_count=2, batch_size=16, learning_rate=0.05)


@pytest.fixture
def examples(files: Path) -> Examples:
    return load("imdb", files, 30).training


def _fitted(settings: Settings, examples: Examples, epochs: int = 3, classes: int = 2) -> NGramClassifier:
    classifier = NGramClassifier(settings, classes)
    classifier.fit(examples, epochs, keras.callbacks.Callback())
    return classifier


def _weights(settings: Settings, examples: Examples) -> list[bytes]:
    classifier = _fitted(settings, examples)
    return [array.tobytes() for array in (classifier.scale, *classifier.dense_weights())]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(examples: Examples) -> None:
    assert _weights(SMALL, examples) == _weights(SMALL, examples)
    assert _weights(SMALL, examples) != _weights(replace(SMALL, seed=1), examples)


@pytest.mark.parametrize(
    "change",
    [
        {"orders": 2},
        {"buckets": 128},
        {"counts": "log"},
        {"min_count": 3},
        {"idf_power": 0.5},
        {"divergence_power": 0.5},
        {"learning_rate": 0.01},
        {"batch_size": 8},
    ],
)
def test_each_choice_changes_what_is_learned(change: dict[str, object], examples: Examples) -> None:
    assert _weights(replace(SMALL, **change), examples) != _weights(SMALL, examples)  # type: ignore[arg-type]


@pytest.mark.parametrize(("data_set", "output"), [("imdb", (1, "sigmoid")), ("reuters", (46, "one-vs-rest"))])
def test_a_unit_for_each_class_or_one_for_two_learns_the_classes(
    data_set: str, output: tuple[int, str], files: Path
) -> None:
    data = load(data_set, files, 30)
    classifier = _fitted(SMALL, data.training, 30, len(data.labels))
    assert [(layer.units, layer.activation) for layer in classifier.layers] == [output]
    probabilities = classifier.probabilities(data.training.sequences)
    assert probabilities.shape == (len(data.training), len(data.labels))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert (probabilities.argmax(axis=1) == data.training.classes).mean() > 0.8


def test_the_exported_weights_give_what_the_network_says(examples: Examples) -> None:
    classifier = _fitted(SMALL, examples)
    kernel, bias = classifier.dense_weights()
    assert kernel.dtype == classifier.scale.dtype == np.float16
    assert kernel.shape == (30 + 64, 1)
    features = ngrams.features(classifier.vectorizer, examples.sequences)
    values = ngrams.weigh(classifier.vectorizer, features, classifier.scale.astype(np.float32))
    rows = np.repeat(np.arange(len(examples)), np.diff(features.row_splits))
    logits = np.bincount(rows, values * kernel[features.ids, 0], len(examples)) + bias
    np.testing.assert_allclose(classifier.probabilities(examples.sequences)[:, 1], 1 / (1 + np.exp(-logits)), atol=1e-6)


def test_the_search_ends_after_the_best_epoch_and_leaves_its_weights(examples: Examples) -> None:
    held_out, others = examples.split(20)
    settings = replace(SMALL, learning_rate=0.3)
    searched = NGramClassifier(settings, 2)
    history = searched.fit(others, 40, keras.callbacks.Callback(), held_out)
    assert len(history["loss"]) == best_epoch(history) + 5 < 40
    kernel, bias = searched.dense_weights()
    expected, expected_bias = _fitted(settings, others, best_epoch(history)).dense_weights()
    np.testing.assert_array_equal(kernel, expected)
    np.testing.assert_array_equal(bias, expected_bias)


def test_a_calibration_becomes_part_of_the_weights(examples: Examples) -> None:
    classifier = _fitted(SMALL, examples)
    before = classifier.probabilities(examples.sequences)[:, 1].astype(np.float64)
    classifier.calibrate(Calibration(temperature=0.5, shift=0.25))
    logits = np.log(before / (1 - before)) * 2 + 0.25
    np.testing.assert_allclose(classifier.probabilities(examples.sequences)[:, 1], 1 / (1 + np.exp(-logits)), atol=1e-4)


def test_texts_without_a_feature_that_counts_have_the_bias_alone(examples: Examples) -> None:
    classifier = _fitted(SMALL, examples)
    _, bias = classifier.dense_weights()
    found = classifier.probabilities([np.array(sequence, np.int32) for sequence in ([1], [1, 2, 2])])
    np.testing.assert_allclose(found[:, 1], 1 / (1 + np.exp(-bias.repeat(2))), atol=1e-6)


def test_balanced_class_weights_change_what_is_learned_from_unequal_classes(examples: Examples) -> None:
    unequal = Examples(examples.sequences, (np.arange(len(examples)) % 5 == 0).astype(np.int64))
    assert _weights(replace(SMALL, class_weights="balanced"), unequal) != _weights(SMALL, unequal)
