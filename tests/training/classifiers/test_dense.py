from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from training.classifiers.dense import DenseClassifier, best_epoch
from training.data.keras_datasets import Examples, load
from training.settings import PRESETS, Settings, VectorizerName

SMALL = replace(PRESETS["imdb"]["dense"], num_words=20, layers=(6, 3), batch_size=16, sequence_length=8, dimensions=4)


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
    assert _weights(settings, examples, epochs) == _weights(settings, examples, epochs)
    assert _weights(settings, examples, epochs) != _weights(replace(settings, seed=1), examples, epochs)


@pytest.mark.parametrize("change", [{"loss": "mse"}, {"optimizer": "sgd"}, {"learning_rate": 0.01}, {"batch_size": 8}])
def test_each_choice_changes_what_is_learned(change: dict[str, object], examples: Examples) -> None:
    assert _weights(replace(SMALL, **change), examples, 1) != _weights(SMALL, examples, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("classes", [2, 4])
def test_balanced_class_weights_let_rare_classes_be_found(classes: int) -> None:
    # Every text is the same: what is learned is how much each class weighs.
    rows = np.concatenate([np.zeros(900, np.int64), np.arange(100) % (classes - 1) + 1])
    examples = Examples([np.array([1, 4], np.int32)] * 1000, rows)
    settings = replace(SMALL, optimizer="adam", learning_rate=0.05, batch_size=250)
    found = []
    for weights in ("none", "balanced"):
        classifier = DenseClassifier(replace(settings, class_weights=weights), classes)
        classifier.fit(examples, 30, keras.callbacks.Callback())
        found.append(classifier.probabilities(examples.sequences[:1])[0])
    assert found[0][0] == pytest.approx(0.9, abs=0.05)
    np.testing.assert_allclose(found[1], np.full(classes, 1 / classes), atol=0.1)


def test_balanced_class_weights_give_each_class_the_same_sum() -> None:
    classes = np.array([0, 0, 0, 2])
    assert DenseClassifier(SMALL, 3).class_weights(classes).tolist() == [1, 1, 1]
    weights = DenseClassifier(replace(SMALL, class_weights="balanced"), 3).class_weights(classes)
    np.testing.assert_allclose(weights[[0, 2]], [4 / 9, 4 / 3])
    assert np.isfinite(weights).all()


def test_two_classes_are_one_sigmoid_unit_and_more_a_softmax() -> None:
    assert [(layer.units, layer.activation) for layer in DenseClassifier(SMALL, 2).layers] == [
        (6, "relu"),
        (3, "relu"),
        (1, "sigmoid"),
    ]
    last = DenseClassifier(SMALL, 5).network.layers[-1]
    assert (last.units, last.activation.__name__) == (5, "softmax")


@pytest.mark.parametrize(("classes", "loss"), [(2, "binary_crossentropy"), (5, "categorical_crossentropy")])
def test_the_loss_is_the_crossentropy_of_the_output(classes: int, loss: str) -> None:
    assert DenseClassifier(SMALL, classes).network.loss == loss
    assert DenseClassifier(replace(SMALL, loss="mse"), classes).network.loss == "mean_squared_error"


@pytest.mark.parametrize("classes", [2, 5])
def test_probabilities_have_a_column_for_each_class_and_sum_to_one(classes: int, examples: Examples) -> None:
    probabilities = DenseClassifier(SMALL, classes).probabilities(examples.sequences)
    assert probabilities.shape == (len(examples), classes)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_the_sigmoid_unit_says_the_probability_of_class_1(examples: Examples) -> None:
    classifier = DenseClassifier(replace(SMALL, learning_rate=0.05), 2)
    classifier.fit(examples, 30, keras.callbacks.Callback())
    predicted = classifier.probabilities(examples.sequences).argmax(axis=1)
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
