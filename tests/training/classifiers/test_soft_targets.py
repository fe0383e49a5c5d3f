"""Soft labels are weighted copies of a text, and a weight is a number of copies, for both presets."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.svm import LinearSVC

from tests.training.classifiers.test_ngram import TEXT, korean
from training.classifiers import features, linear_svm, temperature_scaling
from training.classifiers.dense import DenseClassifier
from training.classifiers.feature_weights import feature_weights
from training.classifiers.ngram import NGramClassifier
from training.classifiers.selection import select
from training.data.keras_datasets import Examples
from training.data.targets import Copies, Targets, one_hot
from training.evaluation.abstention import find_abstention
from training.settings import OWN_DATA, PRESETS, Settings

EXACT = replace(TEXT, min_df=1)
DENSE = replace(PRESETS["imdb"]["dense"], num_words=20, layers=(6, 3), batch_size=16)
AUTO = replace(PRESETS[OWN_DATA]["ngram"], features="words", max_ngram=1, buckets=2**12, cost=0.3)


def _with(examples: Examples, learned: csr_array, judged: csr_array | None = None) -> Examples:
    return replace(examples, targets=Targets(csr_array(learned), csr_array(learned if judged is None else judged)))


def _fitted(examples: Examples, classes: int, settings: Settings = EXACT) -> NGramClassifier:
    classifier = NGramClassifier(settings, classes)
    classifier.fit(examples)
    return classifier


def _arrays(classifier: NGramClassifier) -> list[NDArray[Any]]:
    return [classifier.kept, classifier.scale, *classifier.dense_weights()]


def _noisy(texts: int, classes: int) -> tuple[csr_array, csr_array]:
    """Returns vectors of length 1, and soft labels."""
    random = np.random.default_rng(0)
    vectors = np.abs(random.normal(size=(texts, 6)))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    shares = random.dirichlet(np.full(classes, 0.5), texts) + 0.01
    return csr_array(vectors.astype(np.float32)), csr_array(shares / shares.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("classes", [2, 3])
def test_one_hot_probabilities_give_the_ngram_model_of_hard_labels_to_the_bit(classes: int) -> None:
    hard = korean(60, ("좋아요", "싫어요", "그래요")[:classes])
    soft = _with(hard, one_hot(hard.classes, classes))
    expected, found = _fitted(hard, classes), _fitted(soft, classes)
    assert [array.tobytes() for array in _arrays(found)] == [array.tobytes() for array in _arrays(expected)]
    settings = replace(AUTO, cost=None)
    of_hard, of_soft = select(settings, hard, classes), select(settings, soft, classes)
    assert of_soft.calibration == of_hard.calibration
    assert [trial.accuracy for trial in of_soft.trials] == [trial.accuracy for trial in of_hard.trials]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("loss", ["crossentropy", "mse"])
def test_one_hot_probabilities_give_the_dense_model_of_hard_labels(classes: int, loss: Any) -> None:
    rows = np.arange(60) % classes
    hard = Examples([np.array([1, 4 + number % 7], np.int32) for number in range(60)], rows)
    found = []
    for examples in (hard, _with(hard, one_hot(rows, classes))):
        classifier = DenseClassifier(replace(DENSE, loss=loss, class_weights="balanced"), classes)
        history = classifier.fit(examples, 3, keras.callbacks.Callback(), examples)
        found.append((classifier.probabilities(hard), history))
    np.testing.assert_allclose(found[1][0], found[0][0], atol=1e-5)
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(found[1][1][name], found[0][1][name], rtol=1e-4)


def _doubled(examples: Examples, row: int) -> Examples:
    return examples.take(np.append(np.arange(len(examples)), row))


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_a_weight_of_2_is_the_text_twice(class_weights: Any) -> None:
    examples = korean(40)
    settings = replace(EXACT, min_df=2, class_weights=class_weights)
    weights = np.ones(40)
    weights[5] = 2
    weighted = _fitted(_with(examples, one_hot(examples.classes, 2) * weights[:, np.newaxis]), 2, settings)
    twice, once = _fitted(_doubled(examples, 5), 2, settings), _fitted(examples, 2, settings)
    np.testing.assert_array_equal(weighted.kept, twice.kept)
    np.testing.assert_array_equal(weighted.scale, twice.scale)
    assert len(once.kept) < len(twice.kept)
    test = korean(30, first=3)
    np.testing.assert_allclose(weighted.probabilities(test), twice.probabilities(test), atol=0.01)


def test_a_weight_of_0_is_no_text() -> None:
    examples = korean(40)
    weights = (np.arange(40) != 5).astype(np.float64)
    learned = csr_array(one_hot(examples.classes, 2) * weights[:, np.newaxis])
    without = examples.take(np.flatnonzero(weights))
    learned.eliminate_zeros()
    expected, found = _fitted(without, 2), _fitted(_with(examples, learned), 2)
    for one, other in zip(_arrays(found), _arrays(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-2)


def test_weights_and_soft_labels_give_what_copies_give_in_the_weights_of_features() -> None:
    counts = csr_array(np.random.default_rng(0).integers(0, 2, (12, 9)))
    targets = csr_array(np.array([[2, 0, 1], [1, 1, 1], [0, 3, 0]] * 4, np.float64))
    copies = Copies.of(targets)
    rows = np.repeat(copies.rows, copies.weights.astype(int))
    classes = np.repeat(copies.classes, copies.weights.astype(int))
    found = [
        feature_weights(some, of, min_df=3, idf_power=1, divergence_power=0.35)
        for some, of in ((counts, targets), (counts[rows], one_hot(classes, 3)))
    ]
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize("classes", [2, 4])
def test_soft_labels_are_the_sample_weights_of_scikit_learn(classes: int) -> None:
    vectors, targets = _noisy(300, classes)
    copies = Copies.of(targets)
    wanted = np.array([1]) if classes == 2 else np.arange(classes)
    model = linear_svm.fit(
        copies.of_texts(vectors), copies.classes, wanted, cost=1, weights=copies.weights, tolerance=1e-4
    )
    for unit, label in enumerate(wanted):
        # Each text once as the class and once as the rest, with all the weight of the other classes.
        share = targets.toarray()[:, label]
        expected = LinearSVC(C=1, tol=1e-6, max_iter=10_000, random_state=0).fit(
            np.vstack([vectors.toarray()] * 2), np.repeat([1, 0], 300), np.append(share, 1 - share)
        )
        np.testing.assert_allclose(model.kernel[:, unit], expected.coef_[0], atol=0.02)
        np.testing.assert_allclose(model.bias[unit], expected.intercept_[0], atol=0.02)


def test_a_soft_label_leads_to_its_probability() -> None:
    """Every text is the same, and the teacher gives it 0.3: calibrated and dense answers are near that."""
    texts = Examples([np.array([1, 4], np.int32)] * 200, np.zeros(200, np.int64), ["the same text"] * 200)
    examples = _with(texts, csr_array(np.tile([0.7, 0.3], (200, 1))))
    dense = DenseClassifier(replace(DENSE, learning_rate=0.02, batch_size=10), 2)
    dense.fit(examples, 3, keras.callbacks.Callback())
    assert dense.probabilities(texts.part(slice(1)))[0, 1] == pytest.approx(0.3, abs=0.03)
    logits = np.zeros((400, 1), np.float32)
    copies = Copies.of(examples.judged(2))
    calibration = temperature_scaling.fit(logits, copies.classes, weights=100 * copies.weights)
    assert temperature_scaling.probabilities(logits[:1] + calibration.shift)[0, 1] == pytest.approx(0.3, abs=0.03)


def test_a_weight_of_2_is_two_texts_for_calibration_and_thresholds() -> None:
    random = np.random.default_rng(0)
    logits, classes = random.normal(size=(400, 1)).astype(np.float32), random.integers(0, 2, 400)
    weights = random.integers(1, 4, 400)
    copied = np.repeat(np.arange(400), weights)
    counted = weights.astype(np.float64)
    assert temperature_scaling.fit(logits, classes, weights=counted) == pytest.approx(
        temperature_scaling.fit(logits[copied], classes[copied]), rel=1e-4
    )
    probabilities = temperature_scaling.probabilities(2 * logits + np.where(classes, 1, -1)[:, np.newaxis])
    weighted = find_abstention(probabilities.astype(np.float32), classes, 0.9, counted)
    expected = find_abstention(probabilities.astype(np.float32)[copied], classes[copied], 0.9)
    np.testing.assert_allclose(weighted.thresholds, expected.thresholds, atol=1e-4)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_trial_is_right_as_far_as_the_soft_label_says(classes: int) -> None:
    """The first class of every text has 0.8: who answers it is right with 0.8."""
    examples = korean(60, ("좋아요",))
    shares = np.full((60, classes), 0.2 / (classes - 1))
    shares[:, 0] = 0.8
    selection = select(AUTO, _with(examples, csr_array(shares)), classes)
    assert selection.best.accuracy == pytest.approx(0.8)
    assert selection.weights.sum() == pytest.approx(60)


def test_validation_goes_by_labels_where_texts_have_both() -> None:
    examples = korean(60)
    right = one_hot(examples.classes, 2)
    wrong = csr_array(1 - right.toarray())
    assert select(EXACT, _with(examples, right, right), 2).best.accuracy > 0.9
    assert select(EXACT, _with(examples, right, wrong), 2).best.accuracy < 0.1
    dense = Examples([np.array([1, 4 + n % 2], np.int32) for n in range(60)], np.arange(60) % 2)
    history = DenseClassifier(replace(DENSE, learning_rate=0.05), 2).fit(
        _with(dense, one_hot(dense.classes, 2)),
        20,
        keras.callbacks.Callback(),
        _with(dense, wrong),
    )
    assert history["accuracy"][-1] > 0.9
    assert history["val_accuracy"][-1] < 0.1


def test_weights_count_in_the_loss_of_validation() -> None:
    """Half of the texts have the wrong label: with no weight they do not count, and with much they decide."""
    data = Examples([np.array([1, 4 + n % 2], np.int32) for n in range(60)], np.arange(60) % 2)
    validation = replace(data, classes=np.where(np.arange(60) < 30, data.classes, 1 - data.classes))
    losses = []
    for weight in (0.01, 100.0):
        weights = np.where(np.arange(60) < 30, 1, weight)
        judged = csr_array(one_hot(validation.classes, 2) * weights[:, np.newaxis])
        history = DenseClassifier(replace(DENSE, learning_rate=0.05), 2).fit(
            data, 20, keras.callbacks.Callback(), _with(validation, judged)
        )
        losses.append(history["val_accuracy"][-1])
    assert losses[0] > 0.9
    assert losses[1] < 0.1


def test_parts_keep_their_targets() -> None:
    examples = _with(korean(10), one_hot(np.arange(10) % 2, 2) * np.arange(1, 11)[:, np.newaxis])
    assert examples.part(slice(2, 5)).learned(2).sum(axis=1).tolist() == [3, 4, 5]
    assert examples.take(np.array([7, 0])).judged(2).sum(axis=1).tolist() == [8, 1]
    first, others = examples.split(4)
    assert (first.learned(2).sum(), others.learned(2).sum()) == (10, 45)


def test_copies_of_classes_that_are_not_asked_for_are_left_out() -> None:
    copies = Copies.of(csr_array(np.array([[0.5, 0, 0.5], [0, 1, 0], [0.2, 0.3, 0.5]]))).among(np.array([0, 2]))
    assert copies.rows.tolist() == [0, 0, 2, 2]
    assert copies.classes.tolist() == [0, 1, 0, 1]
    assert copies.weights.tolist() == [0.5, 0.5, 0.2, 0.5]


def test_the_vectors_of_hard_labels_are_not_copied() -> None:
    vectors, _ = _noisy(5, 2)
    assert Copies.of(one_hot(np.array([0, 1, 0, 1, 1]), 2)).of_texts(vectors) is vectors


def test_features_need_as_many_texts_as_their_weights_say() -> None:
    examples = korean(20)
    counts = features.count_matrix(features.vectorizer(EXACT), examples)
    tenth = one_hot(examples.classes, 2) * 0.1
    assert not len(features.fit_weighting(replace(EXACT, min_df=3), counts, csr_array(tenth)).kept)
    exactly = features.fit_weighting(replace(EXACT, min_df=2), counts, csr_array(tenth))
    everything = features.fit_weighting(replace(EXACT, min_df=20), counts, one_hot(examples.classes, 2))
    np.testing.assert_array_equal(exactly.kept, everything.kept)
