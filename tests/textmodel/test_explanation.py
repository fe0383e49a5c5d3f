"""Explanations against TensorFlow: its probabilities, its gradients, and the sharing in plain Python."""

import unicodedata
from collections.abc import Callable
from itertools import chain, groupby
from math import log
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.textmodel.strategies import TEXTS, UNICODE_TEXTS, WORDS
from tests.tiny_model import write_model
from textmodel import VersionFolder, hashed_ngrams, load_engine, unicode_text
from textmodel.compiled_engine import CompiledEngine
from textmodel.engine import Engine
from textmodel.errors import UnsupportedError
from textmodel.explanation import Explainer
from textmodel.hashed_ngrams import rows_of
from textmodel.metadata import CharacterNGrams, HashedNGrams, Layer, MultiHot, NGrams, PaddedSequence
from textmodel.ngrams import features, weigh
from textmodel.tokenization import tokenize
from textmodel.vocabulary import FIRST_WORD, START, UNKNOWN

TWO, FIVE = ("negative", "positive"), ("grain", "crude", "gold", "ship", "tin")
MODELS: dict[str, tuple[Callable[[int], MultiHot | NGrams], tuple[str, ...], tuple[int, ...]]] = {
    "linear": (MultiHot, TWO, ()),
    "dense": (MultiHot, FIVE, (8, 8)),
    "dense, one unit": (MultiHot, TWO, (8,)),
    "n-grams": (lambda size: NGrams(size, 3, 64, "log", normalize=True), TWO, ()),
    "n-grams, dense": (lambda size: NGrams(size, 2, 64, "binary", normalize=False), FIVE, (8,)),
}


@pytest.fixture(scope="module", params=MODELS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VersionFolder:
    vectorizer, labels, hidden = MODELS[request.param]
    models = tmp_path_factory.mktemp("models")
    return write_model(models, "test", words=WORDS, labels=labels, hidden=hidden, vectorizer=vectorizer)


@pytest.fixture(scope="module")
def explainer(folder: VersionFolder) -> Explainer:
    return Explainer(folder)


@pytest.fixture(scope="module")
def engine(folder: VersionFolder) -> Engine:
    return load_engine(folder.path, "tensorflow")


REPEATING = st.lists(st.sampled_from((*WORDS, "unknown")), max_size=30).map(" ".join)
TEXT = st.one_of(TEXTS, REPEATING)
SOME = "the don't café the don't unknown the σας İstanbul the don't"


@given(text=TEXT)
@example(text="")
@example(text=SOME)
@settings(deadline=None, max_examples=50)
def test_bias_and_contributions_sum_up_to_the_logits_of_the_probabilities(
    folder: VersionFolder, explainer: Explainer, engine: Engine, text: str
) -> None:
    logits = []
    for label in range(len(folder.labels)):
        explanation = explainer.explain(text, label)
        logits.append(explanation.bias + sum(word.contribution for word in explanation.words))
    (probabilities,) = engine.classify([text]).probabilities.astype(np.float64)
    if len(logits) == 2:
        assert logits[0] == pytest.approx(-logits[1])
        assert 1 / (1 + np.exp(logits[0])) == pytest.approx(probabilities[1], abs=1e-5)
    else:
        np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(), probabilities, atol=1e-5)


@given(text=TEXT)
@example(text=SOME)
@settings(deadline=None, max_examples=50)
def test_every_word_is_there_with_its_place_in_the_text(folder: VersionFolder, explainer: Explainer, text: str) -> None:
    words = explainer.explain(text, 0).words
    assert [part for word in words for part in tokenize(word.word)] == tokenize(text)
    assert [word.known for word in words] == [index != UNKNOWN for index in folder.vocabulary.indices(text)[1:]]
    for word in words:
        (written,), (read,) = tokenize(text[word.start : word.end]), tokenize(word.word)
        assert written.replace("ς", "σ") == read.replace("ς", "σ")


def gradient_times_input(folder: VersionFolder, ids: list[int], values: list[float], label: int) -> dict[int, float]:
    """TensorFlow's own, by feature."""
    size = getattr(folder.metadata.vectorizer, "features", len(folder.vocabulary))
    vector = tf.Variable(
        tf.scatter_nd(np.array(ids)[:, np.newaxis], tf.constant(values, tf.float32), [size])[tf.newaxis]
    )
    with tf.GradientTape() as tape:
        value = vector
        for layer in folder.weights.layers:
            value = value @ layer.kernel + layer.bias
            if layer.activation == "relu":
                value = tf.nn.relu(value)
        logit = value[0, label] if value.shape[1] > 1 else value[0, 0] * (1 if label else -1)
    products = (tape.gradient(logit, vector) * vector).numpy()[0]
    return {feature: float(products[feature]) for feature in ids}


def hashed(vectorizer: NGrams, window: list[int]) -> int:
    """The feature of a window, by the definition that the tests of n-grams hold the specification to."""
    if len(window) == 1:
        return window[0]
    value = 0
    for index in window:
        product = (value + index) * 663_608_941 % 2**32
        value = product ^ product // 2**15
    return vectorizer.num_words + value % vectorizer.buckets


@given(text=REPEATING, label=st.integers(0, 1))
@example(text=SOME, label=1)
@settings(deadline=None, max_examples=30)
def test_a_feature_s_gradient_times_input_is_shared_evenly_by_places_and_words(
    folder: VersionFolder, explainer: Explainer, text: str, label: int
) -> None:
    vectorizer, indices = folder.metadata.vectorizer, folder.vocabulary.indices(text)[1:]
    places: dict[int, list[range]] = {}
    if isinstance(vectorizer, MultiHot):
        for place, index in enumerate(indices):
            places.setdefault(index, []).append(range(place, place + 1))
        values = dict.fromkeys([START, *places], 1.0)
    else:
        assert isinstance(vectorizer, NGrams)
        for order in range(1, vectorizer.orders + 1):
            for place in range(len(indices) - order + 1):
                window = indices[place : place + order]
                if min(window) >= FIRST_WORD:
                    places.setdefault(hashed(vectorizer, window), []).append(range(place, place + order))
        scale = folder.weights.scale
        assert scale is not None
        found = features(vectorizer, [np.array([START, *indices], np.int32)])
        values = dict(zip(found.ids.tolist(), weigh(vectorizer, found, scale).tolist(), strict=True))
    assert isinstance(vectorizer, MultiHot) or values.keys() == places.keys()
    expected = [0.0] * len(indices)
    if values:
        products = gradient_times_input(folder, list(values), list(values.values()), label)
        for feature, ranges in places.items():
            for words in ranges:
                for word in words:
                    expected[word] += products[feature] / len(ranges) / len(words)
    contributions = [word.contribution for word in explainer.explain(text, label).words]
    assert contributions == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("folder", ["linear"], indirect=True)
def test_in_a_linear_model_a_word_adds_its_weight_and_the_start_belongs_to_the_bias(
    folder: VersionFolder, explainer: Explainer
) -> None:
    (layer,) = folder.weights.layers
    kernel, bias = layer.kernel[:, 0].astype(np.float64), float(layer.bias[0])
    the, cafe = folder.vocabulary.indices("the café")[1:]
    explanation = explainer.explain("the café the", 1)
    assert [word.contribution for word in explanation.words] == [kernel[the] / 2, kernel[cafe], kernel[the] / 2]
    assert explanation.bias == pytest.approx(bias + kernel[START])


@pytest.mark.parametrize("folder", ["n-grams"], indirect=True)
def test_a_window_twice_has_the_weight_of_its_count_once(folder: VersionFolder, explainer: Explainer) -> None:
    vectorizer = folder.metadata.vectorizer
    assert isinstance(vectorizer, NGrams)
    weights = folder.weights
    assert weights.scale is not None
    scale, kernel = weights.scale.astype(np.float64), weights.layers[0].kernel[:, 0].astype(np.float64)
    the, cafe = folder.vocabulary.indices("the café")[1:]
    pair = hashed(vectorizer, [the, cafe])
    # The unknown word parts the windows: there are `the`, `café` and their pair, each twice.
    norm = (1 + log(2)) * np.linalg.norm(scale[[the, cafe, pair]])
    the_s, cafe_s, pair_s = ((1 + log(2)) * scale[[the, cafe, pair]] / norm * kernel[[the, cafe, pair]]).tolist()
    words = explainer.explain("the café unknown the café", 1).words
    expected = [the_s / 2 + pair_s / 4, cafe_s / 2 + pair_s / 4]
    assert [word.contribution for word in words] == pytest.approx([*expected, 0, *expected])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"vectorizer": PaddedSequence(15, 8, 4)}, "has an embedding"),
        ({"network": (Layer(4, "sigmoid"), Layer(1, "sigmoid"))}, "relu in their hidden layers"),
        ({"network": (Layer(4, "relu"), Layer(1, "linear"))}, "neither in softmax, one-vs-rest nor one sigmoid unit"),
    ],
)
def test_a_model_that_cannot_be_explained_is_refused(tiny_models: Path, changes: dict[str, object], says: str) -> None:
    folder = VersionFolder(tiny_models / "sentiment" / "1")
    folder.metadata = msgspec.structs.replace(folder.metadata, **changes)
    with pytest.raises(UnsupportedError, match=says):
        Explainer(folder)


CHARACTERS = CharacterNGrams(1, 3, across_words=True)
HASHED = {
    "words": HashedNGrams(2, None, 1 << 12, 3000, "log", normalize=True),
    "characters": HashedNGrams(0, CHARACTERS, 1 << 12, 3000, "log", normalize=True),
    "characters within words": HashedNGrams(
        0, CharacterNGrams(2, 4, across_words=False), 64, 64, "binary", normalize=False
    ),
    "both": HashedNGrams(2, CHARACTERS, 1 << 12, 3000, "log", normalize=True),
}


@pytest.fixture(scope="module", params=HASHED)
def hashed_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VersionFolder:
    hidden = (4,) if request.param == "both" else ()
    return write_model(
        tmp_path_factory.mktemp("models"),
        "test",
        hidden=hidden,
        vectorizer=lambda _: HASHED[request.param],
        tokenization="unicode",
    )


@pytest.fixture(scope="module")
def hashed_explainer(hashed_folder: VersionFolder) -> Explainer:
    return Explainer(hashed_folder)


@pytest.fixture(scope="module")
def hashed_engine(hashed_folder: VersionFolder) -> CompiledEngine:
    return CompiledEngine(hashed_folder)


MIXED = "정말 최고예요ㅠㅠ!! 東京はとても良い。 e\u0301te\u0301 don't 😀😀 the the"


@given(text=UNICODE_TEXTS)
@example(text="")
@example(text=MIXED)
@settings(deadline=None, max_examples=60)
def test_explanations_of_hashed_ngrams_sum_up_and_are_places_in_the_text(
    hashed_folder: VersionFolder, hashed_explainer: Explainer, hashed_engine: CompiledEngine, text: str
) -> None:
    explanation = hashed_explainer.explain(text, 1)
    logit = explanation.bias + sum(word.contribution for word in explanation.words)
    engine = hashed_engine
    assert 1 / (1 + np.exp(-logit)) == pytest.approx(engine.classify([text]).probabilities[0, 1], abs=1e-5)
    end = 0
    for word in explanation.words:
        assert end <= word.start < word.end <= len(text)
        assert begins_no_mark(text, word.start)
        end = word.end
    if hashed_folder.metadata.vectorizer.characters is None:  # type: ignore[union-attr]
        spans = unicode_text.spans(text)
        within = [
            [span for span in spans if word.start <= span[0] and span[1] <= word.end] for word in explanation.words
        ]
        assert list(chain(*within)) == spans
        assert all(within)
        counts = engine.classify([text])
        assert counts.words[0] == len(spans)
        assert sum(word.known for word in explanation.words) <= counts.known_words[0]


def begins_no_mark(text: str, place: int) -> bool:
    """A mark without a character before it belongs to none."""
    before = unicodedata.category(text[place - 1]) if place else "Cc"
    return unicodedata.category(text[place])[0] != "M" or before in ("Cc", "Cf", "Zl", "Zp")


@pytest.mark.parametrize("hashed_folder", ["both", "words"], indirect=True)
def test_no_part_of_an_explanation_cuts_a_character_that_a_person_sees(
    hashed_folder: VersionFolder, hashed_explainer: Explainer
) -> None:
    seen = {
        "สินค้าพังช้า": ["สิ", "น", "ค้", "า", "พั", "ง", "ช้", "า"],
        "น้ำ ນໍ້າ ស្តី ပုဂ္ဂိုလ်": ["น้ำ", " ", "ນໍ້", "າ", " ", "ស្តី", " ", "ပု", "ဂ္ဂို", "လ်"],
        unicodedata.normalize("NFD", "がぎぐげ"): [unicodedata.normalize("NFD", each) for each in "がぎぐげ"],
        "ﾊﾞｶﾞ東京": ["ﾊﾞ", "ｶﾞ", "東", "京"],
        "1️⃣ #️⃣ 🇩🇪🇫🇷👨‍👩‍👧👍🏽": ["1️⃣", " ", "#️⃣", " ", "🇩🇪", "🇫🇷", "👨‍👩‍👧", "👍🏽"],
        "🏴󠁧󠁢󠁥󠁮󠁧󠁿 ok": ["🏴󠁧󠁢󠁥󠁮󠁧󠁿", " ", "o", "k"],
        "a!̈b  ́c": ["a", "!̈", "b", " ", " ́", "c"],
    }
    for text, whole in seen.items():
        assert "".join(whole) == text
        cuts = {len("".join(whole[:count])) for count in range(len(whole) + 1)}
        for word in hashed_explainer.explain(text, 1).words:
            assert {word.start, word.end} <= cuts
            assert begins_no_mark(word.word, 0)
            if unicode_text.normalize(text) == text:  # it is read as it is written
                assert word.word == text[word.start : word.end]


def test_the_words_of_hashed_ngrams_are_known_if_the_bits_say_so(
    hashed_folder: VersionFolder, hashed_explainer: Explainer
) -> None:
    text = "the dull film a moving café oil one two three four five"
    bits = hashed_folder.weights.known_words
    assert bits is not None
    expected = hashed_ngrams.known_words(unicode_text.read([text]), bits).tolist()
    assert {True, False} == set(expected)
    assert [word.known for word in hashed_explainer.explain(text, 1).words] == expected


def shares(folder: VersionFolder, text: str) -> dict[int, float]:
    """What each character adds to the logit of label 1, by its place, for n-grams of characters in a linear model."""
    weights, vectorizer = folder.weights, folder.metadata.vectorizer
    assert isinstance(vectorizer, HashedNGrams)
    assert weights.kept is not None
    stream = unicode_text.read([text])
    found = rows_of(hashed_ngrams.features(vectorizer, [text]), weights.kept)
    assert weights.scale is not None
    values = weigh(vectorizer, found, weights.scale).astype(np.float64) * weights.layers[0].kernel[found.ids, 0]
    parts = dict(zip(weights.kept[found.ids].tolist(), (values / found.counts).tolist(), strict=True))
    expected = [0.0] * len(stream.code)
    for grams in hashed_ngrams.ngrams(vectorizer, stream):
        for start, end, bucket in zip(*(part.tolist() for part in grams), strict=True):
            covered = [place for place in range(start, end) if stream.code[place] != ord(" ")]
            for place in covered:
                expected[place] += parts.get(bucket, 0) / len(covered)
    return dict(zip(stream.position.tolist(), expected, strict=True))


@pytest.mark.parametrize("hashed_folder", ["characters"], indirect=True)
def test_an_ngram_of_characters_is_shared_evenly_between_its_characters(hashed_folder: VersionFolder) -> None:
    text = "ab 東京は!? the"
    explanation = Explainer(hashed_folder).explain(text, 1)
    by_place = shares(hashed_folder, text)
    assert "".join(text[word.start : word.end] for word in explanation.words) == text.replace(" ", "")
    for word in explanation.words:
        places = [by_place[place] for place in range(word.start, word.end)]
        assert word.contribution == pytest.approx(sum(places), abs=1e-6)
        if text[word.start] in "東京は":  # a run of characters that speak for the label or against it
            assert len({place > 0 for place in places}) == 1
    first, *_, punctuation, last = (word.word for word in explanation.words)
    assert (first, punctuation, last) == ("ab", "!?", "the")


@pytest.mark.parametrize("hashed_folder", ["characters"], indirect=True)
def test_a_run_without_spaces_is_cut_where_whole_characters_change_sides(hashed_folder: VersionFolder) -> None:
    seen = ["สิ", "น", "ค้", "า", "พั", "ง", "ช้", "า"] * 2
    text = "the " + "".join(seen)
    by_place = shares(hashed_folder, text)
    parts, end = [], len("the ")
    for each in seen:
        parts.append((each, sum(by_place[end + place] for place in range(len(each))) > 0))
        end += len(each)
    expected = ["".join(each for each, _ in part) for _, part in groupby(parts, key=lambda part: part[1])]
    assert len(expected) > 2
    words = Explainer(hashed_folder).explain(text, 1).words
    assert [text[word.start : word.end] for word in words] == ["the", *expected]
