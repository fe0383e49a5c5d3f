from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from textmodel import hashed_ngrams, ngrams
from textmodel.metadata import HashedNGrams
from training.classifiers import ngram
from training.classifiers.features import describe, vectorizer
from training.classifiers.ngram import NGramClassifier
from training.classifiers.temperature_scaling import Calibration
from training.data.keras_datasets import Examples, load
from training.settings import OWN_DATA, PRESETS, Settings

SMALL = replace(PRESETS["imdb"]["ngram"], num_words=30, buckets=64, min_df=2, cost=1.0)
TEXT = replace(
    PRESETS[OWN_DATA]["ngram"],
    features="both",
    max_ngram=2,
    char_ngrams=(2, 4),
    char_spans="within-words",
    buckets=2**12,
    cost=1.0,
)
STEMS = ["나무", "바다", "하늘", "구름", "사람", "시간", "마음", "노래", "친구", "여행", "음식"]


@pytest.fixture
def examples(files: Path) -> Examples:
    return load("imdb", files, 30).training


def korean(count: int, endings: tuple[str, ...] = ("좋아요", "싫어요"), first: int = 0) -> Examples:
    """Returns texts whose endings tell the class, and whose stems do not."""
    texts = [f"{STEMS[(first + n) % len(STEMS)]}{n}{endings[n % len(endings)]}" for n in range(count)]
    classes = np.arange(count) % len(endings)
    return Examples([np.array([1, 2], np.int32)] * count, classes, texts)


def _fitted(settings: Settings, examples: Examples, classes: int = 2) -> NGramClassifier:
    classifier = NGramClassifier(settings, classes)
    classifier.fit(examples)
    return classifier


def _weights(settings: Settings, examples: Examples) -> list[bytes]:
    classifier = _fitted(settings, examples)
    arrays: list[NDArray[Any]] = [classifier.kept, classifier.scale, *classifier.dense_weights()]
    return [array.tobytes() for array in arrays]


def _correct(classifier: NGramClassifier, examples: Examples) -> float:
    return float((classifier.probabilities(examples).argmax(axis=1) == examples.classes).mean())


def test_the_same_settings_give_the_same_weights_to_the_bit(examples: Examples) -> None:
    assert _weights(SMALL, examples) == _weights(SMALL, examples)
    assert _weights(TEXT, korean(60)) == _weights(TEXT, korean(60))


@pytest.mark.parametrize(
    "change",
    [
        {"max_ngram": 2},
        {"buckets": 128},
        {"term_frequency": "log"},
        {"min_df": 3},
        {"idf_power": 0.5},
        {"divergence_power": 0.5},
        {"cost": 0.01},
    ],
)
def test_each_choice_changes_what_is_learned(change: dict[str, object], examples: Examples) -> None:
    assert _weights(replace(SMALL, **change), examples) != _weights(SMALL, examples)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "words", "characters", "name"),
    [
        ({"char_ngrams": None, "features": "words", "max_ngram": 1}, 1, None, "words"),
        ({"char_ngrams": None, "features": "words"}, 2, None, "words 1-2"),
        ({"features": "characters", "max_ngram": None}, 0, (2, 4, False), "characters 2-4 within words"),
        ({"char_spans": "across-words"}, 2, (2, 4, True), "words 1-2 + characters 2-4 across words"),
    ],
)
def test_text_has_the_n_grams_that_the_settings_name(
    settings: dict[str, object], words: int, characters: tuple[int, int, bool] | None, name: str
) -> None:
    changed = replace(TEXT, **settings)  # type: ignore[arg-type]
    found = vectorizer(changed)
    assert isinstance(found, HashedNGrams)
    assert found.words == words
    has = found.characters
    assert (has and (has.min, has.max, has.across_words)) == characters
    assert describe(changed) == name


@pytest.mark.parametrize(("data_set", "output"), [("imdb", (1, "sigmoid")), ("reuters", (46, "one-vs-rest"))])
def test_a_unit_for_each_class_or_one_for_two_learns_the_classes(
    data_set: str, output: tuple[int, str], files: Path
) -> None:
    data = load(data_set, files, 30)
    classifier = _fitted(SMALL, data.training, len(data.labels))
    assert [(layer.units, layer.activation) for layer in classifier.layers] == [output]
    probabilities = classifier.probabilities(data.training)
    assert probabilities.shape == (len(data.training), len(data.labels))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert _correct(classifier, data.training) > 0.8


@pytest.mark.parametrize("classes", [2, 3, 12])
def test_characters_tell_endings_of_stems_that_were_not_seen(classes: int) -> None:
    endings = tuple(f"{chr(0xAC00 + 28 * n)}니다" for n in range(classes))
    classifier = _fitted(TEXT, korean(40 * classes, endings), classes)
    test = korean(20 * classes, endings, first=7)
    assert (
        _correct(classifier, Examples(test.sequences, test.classes, [f"새{text[1:]}" for text in test.texts or ()]))
        == 1
    )


def _logits(classifier: NGramClassifier, examples: Examples) -> NDArray[np.float64]:
    """Returns what the exported weights give."""
    kernel, bias = classifier.dense_weights()
    if isinstance(classifier.vectorizer, HashedNGrams):
        found = hashed_ngrams.features(classifier.vectorizer, examples.texts or ())
        found = hashed_ngrams.rows_of(found, classifier.kept)
    else:
        found = ngrams.features(classifier.vectorizer, examples.sequences)
    values = ngrams.weigh(classifier.vectorizer, found, classifier.scale.astype(np.float32))
    rows = np.repeat(np.arange(len(examples)), np.diff(found.row_splits))
    scale = 1 if classifier.kernel_scale is None else classifier.kernel_scale
    logits = np.zeros((len(examples), len(bias)))
    np.add.at(logits, rows, values[:, np.newaxis] * (kernel[found.ids] * scale))
    logits += bias
    return logits


def test_the_exported_weights_of_word_indices_answer_as_the_classifier(examples: Examples) -> None:
    classifier = _fitted(SMALL, examples)
    kernel, _ = classifier.dense_weights()
    assert kernel.dtype == classifier.scale.dtype == np.float16
    assert kernel.shape == (30 + 64, 1)
    expected = 1 / (1 + np.exp(-_logits(classifier, examples)[:, 0]))
    np.testing.assert_allclose(classifier.probabilities(examples)[:, 1], expected, atol=1e-6)


@pytest.mark.parametrize(("classes", "dtype"), [(2, np.float16), (12, np.int8)])
def test_the_exported_weights_of_text_have_rows_for_kept_features(classes: int, dtype: type) -> None:
    endings = tuple(f"{chr(0xAC00 + 28 * n)}니다" for n in range(classes))
    data = korean(20 * classes, endings)
    classifier = _fitted(TEXT, data, classes)
    kernel, _ = classifier.dense_weights()
    assert isinstance(classifier.vectorizer, HashedNGrams)
    assert classifier.vectorizer.kept == len(classifier.kept) == len(classifier.scale) == len(kernel) > 0
    assert kernel.dtype == dtype
    assert (classifier.kernel_scale is None) == (dtype is np.float16)
    assert (_logits(classifier, data)[:, -1] > 0).mean() == pytest.approx(1 / classes, abs=0.05)
    found = classifier.probabilities(data)
    sigmoids = 1 / (1 + np.exp(-_logits(classifier, data)))
    expected = sigmoids[:, 0] if classes == 2 else (sigmoids / sigmoids.sum(axis=1, keepdims=True))[:, -1]
    np.testing.assert_allclose(found[:, -1], expected, atol=1e-5)


def test_a_model_that_would_be_large_keeps_the_most_important_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram, "_MAX_BYTES", {np.float16: 360})  # of a version folder, 12 a feature
    monkeypatch.setattr(ngram, "_MIN_FEATURES", 10)
    classifier = _fitted(TEXT, korean(60))
    assert len(classifier.kept) == 30
    assert _correct(classifier, korean(60)) == 1


def test_a_calibration_becomes_part_of_the_weights(examples: Examples) -> None:
    classifier = _fitted(SMALL, examples)
    before = classifier.probabilities(examples)[:, 1].astype(np.float64)
    classifier.calibrate(Calibration(temperature=0.5, shift=0.25))
    logits = np.log(before / (1 - before)) * 2 + 0.25
    np.testing.assert_allclose(classifier.probabilities(examples)[:, 1], 1 / (1 + np.exp(-logits)), atol=1e-3)


def test_texts_without_a_feature_have_the_bias_alone(examples: Examples) -> None:
    classifier = _fitted(SMALL, examples)
    _, bias = classifier.dense_weights()
    unknown = Examples([np.array(sequence, np.int32) for sequence in ([1], [1, 2, 2])], np.zeros(2, np.int64))
    np.testing.assert_allclose(classifier.probabilities(unknown)[:, 1], 1 / (1 + np.exp(-bias.repeat(2))), atol=1e-6)


def test_balanced_class_weights_change_what_is_learned_from_unequal_classes(examples: Examples) -> None:
    unequal = Examples(examples.sequences, (np.arange(len(examples)) % 5 == 0).astype(np.int64))
    assert _weights(replace(SMALL, class_weights="balanced"), unequal) != _weights(SMALL, unequal)


@pytest.mark.parametrize(
    "settings",
    [
        {"features": "words", "max_ngram": 1, "char_ngrams": None, "char_spans": None},
        {"features": "characters", "max_ngram": None},
    ],
)
def test_words_of_fewer_training_texts_than_min_df_are_unknown(settings: dict[str, Any]) -> None:
    texts = ["one two", "one two", "one three three"]
    data = Examples([np.array([1], np.int32)] * 3, np.array([0, 1, 0]), texts)
    classifier = _fitted(replace(TEXT, **settings), data)
    assert classifier.unknown_word_ratio(data) == pytest.approx(2 / 7)
    assert classifier.unknown_word_ratio(Examples([], np.zeros(0, np.int64), [])) == 0
    foreign = Examples([np.array([1], np.int32)], np.zeros(1, np.int64), ["αβγ δεζ ηθι"])
    assert classifier.unknown_word_ratio(foreign) > 0.5
