"""The compiled engine of n-grams, beside the specification, the graph and NumPy."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.textmodel.strategies import TEXTS, WORDS
from tests.tiny_model import write_model
from textmodel._native import Network
from textmodel.compiled_engine import CompiledEngine, characters
from textmodel.errors import ModelError
from textmodel.metadata import NGrams
from textmodel.ngrams import features, weigh
from textmodel.probes import TOLERANCE
from textmodel.tensorflow_engine import TensorFlowEngine
from textmodel.version_folder import VersionFolder
from textmodel.vocabulary import FIRST_WORD, START, UNKNOWN, Vocabulary

VERSIONS: list[tuple[NGrams, dict[str, Any]]] = [
    (NGrams(4, 1, 0, "log", normalize=True), {"hidden": ()}),
    (NGrams(4, 2, 1, "binary", normalize=True), {"hidden": (), "labels": ("a", "b", "c")}),
    (NGrams(4, 2, 8, "log", normalize=False), {"hidden": (5,)}),
    (NGrams(4, 3, 1 << 12, "binary", normalize=False), {"hidden": (16, 4), "dtype": np.float16}),
    (NGrams(4, 3, 64, "log", normalize=True), {"hidden": (), "labels": tuple(map(str, range(46)))}),
]


@pytest.fixture(scope="module", params=VERSIONS, ids=str)
def version(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VersionFolder:
    """A version whose words are those that `TEXTS` are made of. Not to be changed."""
    vectorizer, options = request.param
    return write_model(
        tmp_path_factory.mktemp("models"),
        "test",
        words=WORDS,
        scale=0.3,
        vectorizer=lambda size: msgspec.structs.replace(vectorizer, num_words=size),
        **options,
    )


@pytest.fixture(scope="module")
def engine(version: VersionFolder) -> CompiledEngine:
    return CompiledEngine(version)


@pytest.fixture(scope="module")
def reference(version: VersionFolder) -> TensorFlowEngine:
    return TensorFlowEngine(version.path)


def check_features(version: VersionFolder, engine: CompiledEngine, texts: Sequence[str]) -> None:
    vectorizer = version.metadata.vectorizer
    assert isinstance(vectorizer, NGrams)
    for text in texts:
        expected = features(vectorizer, [np.array(version.vocabulary.indices(text), np.int32)])
        pairs = zip(expected.ids.tolist(), expected.counts.tolist(), strict=True)
        assert engine.features(text) == dict(pairs), ascii(text)


def check_predictions(reference: TensorFlowEngine, engine: CompiledEngine, texts: Sequence[str]) -> None:
    expected, actual = reference.classify(texts), engine.classify(texts)
    np.testing.assert_allclose(actual.probabilities, expected.probabilities, rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(actual.words, expected.words)
    np.testing.assert_array_equal(actual.known_words, expected.known_words)


@given(texts=st.lists(TEXTS, min_size=1, max_size=5))
@example(texts=["", " ", "the", "unknown", "the don't", "the unknown don't", "the don't the don't the", "café " * 100])
def test_any_text_has_the_specified_features_and_tensorflow_s_probabilities(
    version: VersionFolder, engine: CompiledEngine, reference: TensorFlowEngine, texts: list[str]
) -> None:
    check_features(version, engine, texts)
    check_predictions(reference, engine, texts)


def test_a_thousand_texts_and_a_megabyte_are_read_as_tensorflow_reads_them(
    version: VersionFolder, engine: CompiledEngine, reference: TensorFlowEngine
) -> None:
    generator = np.random.default_rng(0)
    words = [*WORDS, "unknown"]
    texts = [" ".join(generator.choice(words, size)) for size in generator.integers(0, 300, 1024)]
    long = [" ".join(generator.choice(words, 150_000)), "the " * 260_000, "x" * (1 << 20)]
    check_features(version, engine, [*texts[:50], *long])
    check_predictions(reference, engine, texts)
    check_predictions(reference, engine, long)


@pytest.mark.parametrize("length", [*range(130), 255, 256, 257, 4096])
def test_windows_are_the_same_wherever_a_word_begins(
    version: VersionFolder, engine: CompiledEngine, length: int
) -> None:
    check_features(version, engine, [" " * length + "the don't café the", "the " * length + "café", "x" * length])


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("units", [1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 100])
def test_a_layer_of_any_width_computes_what_numpy_computes(units: int, normalize: bool) -> None:
    generator = np.random.default_rng(0)
    entries = tuple(f"w{number}" for number in range(50))
    vectorizer = NGrams(len(entries), 3, 32, "log", normalize)
    scale = generator.normal(size=vectorizer.features).astype(np.float32)
    kernel = generator.normal(size=(vectorizer.features, units)).astype(np.float32)
    bias = generator.normal(size=units).astype(np.float32)
    network = Network(
        characters(), entries, ((kernel, bias, "linear"),), START, UNKNOWN, (scale, 3, FIRST_WORD, True, normalize)
    )
    indices = generator.integers(FIRST_WORD, len(entries), 300).astype(np.int32)
    actual = np.empty((2, max(2, units)), np.float32)
    network.classify(
        (" ".join(f"w{index}" for index in indices), ""), actual, np.empty(2, np.int32), np.empty(2, np.int32)
    )
    found = features(vectorizer, [np.append(np.int32(START), indices)])
    expected = weigh(vectorizer, found, scale).astype(np.float64) @ kernel[found.ids] + bias
    outputs = actual[:, 1:] if units == 1 else actual
    np.testing.assert_allclose(outputs[0], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_array_equal(outputs[1], bias)


def test_features_whose_scale_is_zero_leave_the_vector_zero() -> None:
    entries = tuple(f"w{number}" for number in range(8))
    scale, kernel, bias = np.zeros(12, np.float32), np.ones((12, 2), np.float32), np.array([3, 4], np.float32)
    network = Network(characters(), entries, ((kernel, bias, "linear"),), START, UNKNOWN, (scale, 2, 4, False, True))
    actual = np.empty((1, 2), np.float32)
    network.classify(("w5 w6",), actual, np.empty(1, np.int32), np.empty(1, np.int32))
    assert actual.tolist() == [[3, 4]]


def test_calls_at_the_same_time_do_not_disturb_one_another(engine: CompiledEngine) -> None:
    generator = np.random.default_rng(0)
    batches = [[" ".join(generator.choice(WORDS, 200)) for _ in range(50)] for _ in range(20)]
    alone = [engine.classify(batch) for batch in batches]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(engine.classify, batches * 5))
    for number, prediction in enumerate(together):
        for actual, expected in zip(prediction, alone[number % len(batches)], strict=True):
            np.testing.assert_array_equal(actual, expected)


def test_a_checkpoint_of_other_shapes_than_the_metadata_say_is_refused(version: VersionFolder) -> None:
    vectorizer = version.metadata.vectorizer
    folder = VersionFolder(version.path)
    folder.metadata = msgspec.structs.replace(
        version.metadata, vectorizer=msgspec.structs.replace(vectorizer, orders=3, buckets=1 << 13)
    )
    with pytest.raises(ModelError, match=r"dense/0/kernel: shape \(\d+, \d+\) instead of"):
        CompiledEngine(folder)


@pytest.mark.parametrize("size", [7, 8, 9 + 2, 8 + 3])
def test_a_scale_that_is_not_of_the_entries_and_a_power_of_two_is_refused(size: int) -> None:
    entries = tuple(f"w{number}" for number in range(8))
    layers = ((np.zeros((size, 2), np.float32), np.zeros(2, np.float32), "softmax"),)
    with pytest.raises(ValueError, match="n-grams"):
        Network(characters(), entries, layers, START, UNKNOWN, (np.zeros(size, np.float32), 2, 4, False, True))


def test_words_are_counted_as_the_vocabulary_has_them(version: VersionFolder, engine: CompiledEngine) -> None:
    vocabulary: Vocabulary = version.vocabulary
    texts = ["the unknown café", "", "[START] the"]
    prediction = engine.classify(texts)
    indices = [vocabulary.indices(text)[1:] for text in texts]
    assert prediction.words.tolist() == [len(some) for some in indices]
    assert prediction.known_words.tolist() == [len(some) - some.count(UNKNOWN) for some in indices]


def test_ngrams_are_a_tuple_or_none() -> None:
    layers = ((np.zeros((3, 2), np.float32), np.zeros(2, np.float32), "softmax"),)
    with pytest.raises(TypeError, match="ngrams must be a tuple or None"):
        Network(characters(), ("a", "b", "c"), layers, 0, 1, [])  # type: ignore[arg-type]
