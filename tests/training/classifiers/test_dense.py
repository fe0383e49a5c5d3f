from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from textfiles import InputError
from training.classifiers.dense import DenseClassifier, batch_size
from training.classifiers.history import best_epoch
from training.data.keras_datasets import Examples, load
from training.data.targets import one_hot
from training.settings import OWN_DATA, PRESETS, Settings, VectorizerName

SMALL = replace(
    PRESETS["imdb"]["dense"], num_words=20, layers=(6, 3), batch_size=16, sequence_length=8, embedding_dim=4
)


@pytest.fixture
def examples(files: Path) -> Examples:
    return load("imdb", files, 20).training


def _weights(settings: Settings, examples: Examples, epochs: int) -> list[bytes]:
    classifier = DenseClassifier(settings, 2)
    if epochs:
        classifier.fit(examples, epochs, keras.callbacks.Callback())
    return [array.tobytes() for array in classifier.network.get_weights()]


@pytest.mark.parametrize("vectorizer", ["multi-hot", "embedding"])
@pytest.mark.parametrize("epochs", [0, 3])
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    vectorizer: VectorizerName, epochs: int, examples: Examples
) -> None:
    settings = replace(SMALL, vectorizer=vectorizer)
    weights = _weights(settings, examples, epochs)
    assert _weights(settings, examples, epochs) == weights
    assert _weights(replace(settings, seed=1), examples, epochs) != weights


def test_each_choice_changes_what_is_learned(examples: Examples) -> None:
    changes: list[dict[str, Any]] = [{"loss": "mse"}, {"optimizer": "sgd"}, {"learning_rate": 0.01}, {"batch_size": 8}]
    weights = _weights(SMALL, examples, 1)
    for change in changes:
        assert _weights(replace(SMALL, **change), examples, 1) != weights


@pytest.mark.parametrize("classes", [2, 4])
def test_balanced_class_weights_let_rare_classes_be_found(classes: int) -> None:
    # Every text is the same: what is learned is how much each class weighs.
    rows = np.concatenate([np.zeros(900, np.int64), np.arange(100) % (classes - 1) + 1])
    examples = Examples([np.array([1, 4], np.int32)] * 1000, rows)
    settings = replace(SMALL, optimizer="adam", learning_rate=0.05, batch_size=50)
    found = []
    for weights in ("none", "balanced"):
        classifier = DenseClassifier(replace(settings, class_weights=weights), classes)
        classifier.fit(examples, 6, keras.callbacks.Callback())
        found.append(classifier.probabilities(examples.part(slice(1)))[0])
    assert found[0][0] == pytest.approx(0.9, abs=0.05)
    np.testing.assert_allclose(found[1], np.full(classes, 1 / classes), atol=0.1)


def test_balanced_class_weights_give_each_class_the_same_sum() -> None:
    targets = one_hot(np.array([0, 0, 0, 2]), 3)
    assert DenseClassifier(SMALL, 3).class_weights(targets).tolist() == [1, 1, 1]
    weights = DenseClassifier(replace(SMALL, class_weights="balanced"), 3).class_weights(targets)
    np.testing.assert_allclose(weights[[0, 2]], [4 / 9, 4 / 3])
    assert np.isfinite(weights).all()


def test_a_fit_that_diverged_is_an_error_that_names_the_learning_rate(examples: Examples) -> None:
    classifier = DenseClassifier(replace(SMALL, learning_rate=1e30), 2)
    classifier.network.set_weights([np.full_like(weights, np.nan) for weights in classifier.network.get_weights()])
    with pytest.raises(InputError, match=r"^--learning-rate 1e\+30: the fit diverged, .*: choose a lower one$"):
        classifier.probabilities(examples)


def test_two_classes_are_one_sigmoid_unit_and_more_a_softmax() -> None:
    assert [(layer.units, layer.activation) for layer in DenseClassifier(SMALL, 2).layers] == [
        (6, "relu"),
        (3, "relu"),
        (1, "sigmoid"),
    ]
    last = DenseClassifier(SMALL, 5).network.layers[-1]
    assert (last.units, last.activation.__name__) == (5, "softmax")


@pytest.mark.parametrize("classes", [2, 5])
def test_the_loss_is_the_crossentropy_of_the_output(classes: int) -> None:
    data = Examples([np.array([1, 4 + number % 9], np.int32) for number in range(40)], np.arange(40) % classes)
    classifier = DenseClassifier(SMALL, classes)
    history = classifier.fit(data, 1, keras.callbacks.Callback(), data)
    likelihood = classifier.probabilities(data)[np.arange(40), data.classes]
    assert history["val_loss"][0] == pytest.approx(-np.log(likelihood).mean(), rel=1e-4)


@pytest.mark.parametrize("classes", [2, 5])
def test_probabilities_have_a_column_for_each_class_and_sum_to_one(classes: int, examples: Examples) -> None:
    probabilities = DenseClassifier(SMALL, classes).probabilities(examples)
    assert probabilities.shape == (len(examples), classes)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_the_sigmoid_unit_says_the_probability_of_class_1(examples: Examples) -> None:
    classifier = DenseClassifier(replace(SMALL, learning_rate=0.05), 2)
    classifier.fit(examples, 30, keras.callbacks.Callback())
    predicted = classifier.probabilities(examples).argmax(axis=1)
    assert (predicted == examples.classes).mean() > 0.8


def test_the_history_has_the_validation_set_after_each_epoch(examples: Examples) -> None:
    held_out, others = examples.split(20)
    history = DenseClassifier(SMALL, 2).fit(others, 3, keras.callbacks.Callback(), held_out)
    assert {name: len(values) for name, values in history.items()} == dict.fromkeys(
        ("loss", "accuracy", "val_loss", "val_accuracy"), 3
    )


@pytest.mark.parametrize(("losses", "best"), [([3, 2, 1], 3), ([1, 2, 3], 1), ([2, 1, 5, 0.9], 4), ([2, 1, 1], 2)])
def test_the_best_epoch_has_the_lowest_validation_loss_the_first_of_equals(losses: list[float], best: int) -> None:
    assert best_epoch({"val_loss": losses}) == best


@pytest.mark.parametrize("classes", [2, 4])
def test_the_squared_error_is_that_of_one_hot_targets(classes: int) -> None:
    data = Examples([np.array([1, 4 + number % classes], np.int32) for number in range(40)], np.arange(40) % classes)
    classifier = DenseClassifier(replace(SMALL, loss="mse"), classes)
    before = classifier.probabilities(data)
    history = classifier.fit(data, 1, keras.callbacks.Callback(), data)
    after = classifier.probabilities(data)
    one_hot = np.eye(classes)[data.classes]
    errors = np.square(one_hot - after)[:, -1:] if classes == 2 else np.square(one_hot - after)
    assert history["val_loss"][0] == pytest.approx(errors.mean(), rel=1e-4)
    assert not np.allclose(before, after)


def test_the_search_ends_when_the_validation_loss_does_not_fall(examples: Examples) -> None:
    held_out, others = examples.split(20)
    settings = replace(SMALL, learning_rate=0.2, patience=3)
    history = DenseClassifier(settings, 2).fit(others, 50, keras.callbacks.Callback(), held_out)
    assert len(history["loss"]) == best_epoch(history) + 3 < 50


@pytest.mark.parametrize(
    ("texts", "size"), [(1, 16), (450, 16), (1_023, 16), (1_024, 32), (4_000, 64), (16_384, 512), (10**6, 512)]
)
def test_the_batch_size_follows_the_number_of_texts(texts: int, size: int) -> None:
    assert batch_size(texts) == size


@pytest.mark.parametrize("texts", [50, 450, 5_000, 100_000])
def test_the_search_for_the_best_epoch_takes_hundreds_of_steps_of_few_texts_too(texts: int) -> None:
    settings = PRESETS[OWN_DATA]["dense"]
    assert settings.batch_size is None
    assert settings.epochs * ceil(texts / batch_size(texts)) >= 400


def test_memory_does_not_grow_with_texts_times_classes() -> None:
    # 20,000 x 20,000 one-hot targets would take 1.6 GB.
    data = Examples([np.array([1, 4], np.int32)] * 20_000, np.arange(20_000))
    settings = replace(SMALL, layers=(1,), batch_size=64)
    targets, _ = DenseClassifier(settings, 20_000)._targets(data)
    assert targets.shape == (20_000, 1)
