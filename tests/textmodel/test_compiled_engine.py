import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny_model import write_model
from textmodel._native import Network
from textmodel.compiled_engine import CompiledEngine, characters, readable
from textmodel.errors import ModelError
from textmodel.metadata import Layer, PaddedSequence
from textmodel.tensorflow_engine import TensorFlowEngine
from textmodel.tokenization import FILTERS, separate, tokenize
from textmodel.version_folder import VersionFolder
from textmodel.vocabulary import START, UNKNOWN, Vocabulary

# Of every length that a hash table could treat in its own way, and of every kind of character.
WORDS = (
    *("the", "a", "film", "it's", "Capital", "i̇i", "σας", "στη", "ώ", "ß", "straße", "ⱥⱥⱥⱥ", "😀"),
    *("x" * length for length in (*range(1, 35), 255, 256, 300)),
    *("x" * length + "y" for length in (7, 8, 15, 16, 17, 24, 32)),
)


@pytest.fixture(scope="module", params=[(2, (16, 5)), (46, (64, 33)), (2, ())], ids=["binary", "multiclass", "shallow"])
def version(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VersionFolder:
    classes, hidden = request.param
    labels = [f"class {number}" for number in range(classes)]
    return write_model(tmp_path_factory.mktemp("models"), "test", words=WORDS, labels=labels, hidden=hidden, scale=0.3)


@pytest.fixture(scope="module")
def vocabulary(version: VersionFolder) -> Vocabulary:
    return version.vocabulary


@pytest.fixture(scope="module")
def engine(version: VersionFolder) -> CompiledEngine:
    return CompiledEngine(version)


@pytest.fixture(scope="module")
def reference(version: VersionFolder) -> TensorFlowEngine:
    return TensorFlowEngine(version.path)


def check_reading(vocabulary: Vocabulary, engine: CompiledEngine, texts: Sequence[str]) -> None:
    prediction = engine.classify(texts)
    for number, text in enumerate(texts):
        indices = vocabulary.indices(text)
        assert engine.features(text) == dict.fromkeys(indices, 1), ascii(text)
        assert prediction.words[number] == len(indices) - 1, ascii(text)
        assert prediction.known_words[number] == len(indices) - 1 - indices.count(UNKNOWN), ascii(text)


def check_probabilities(reference: TensorFlowEngine, engine: CompiledEngine, texts: Sequence[str]) -> None:
    expected = reference.classify(texts)
    actual = engine.classify(texts)
    np.testing.assert_allclose(actual.probabilities, expected.probabilities, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(actual.words, expected.words)
    np.testing.assert_array_equal(actual.known_words, expected.known_words)


CODE_POINTS = st.characters(exclude_categories=["Cs"])
TEXTS = st.lists(
    st.one_of(st.sampled_from([*WORDS, *FILTERS, " ", "Σ", "İ", "I"]), CODE_POINTS, st.text(CODE_POINTS))
).map("".join)


@given(texts=st.lists(TEXTS, min_size=1))
def test_any_text_has_the_indices_of_the_specification(
    vocabulary: Vocabulary, engine: CompiledEngine, texts: list[str]
) -> None:
    check_reading(vocabulary, engine, texts)
    check_reading(vocabulary, engine, [text.upper() for text in texts])


@pytest.mark.parametrize("context", ["{}", "x{}y", "Σ{}", "aΣ{}a", "aΣ{}", "a{}Σ", "İ{}"])
def test_every_code_point_is_read_as_the_specification_reads_it(context: str) -> None:
    codes = (*range(0xD800), *range(0xE000, 0x20000), *range(0x20000, sys.maxunicode + 1, 251))
    texts = [context.format(chr(code)) for code in codes]
    words = [tokenize(text) for text in texts]
    known = dict.fromkeys(word for some in words for word in some if "\uffff" not in word)
    vocabulary = Vocabulary.from_ranks({word: rank for rank, word in enumerate(known, 1)}, len(known) + 4)
    # The sum of a text's numbers, exact in float32, tells its indices.
    numbers = np.zeros((len(vocabulary), 2), np.float32)
    numbers[:, 0] = np.arange(len(vocabulary))
    numbers[START] = 0
    network = Network(characters(), vocabulary.entries, ((numbers, np.zeros(2, np.float32), "linear"),), START, UNKNOWN)
    sums, counts, known_counts = (
        np.empty((len(texts), 2), np.float32),
        np.empty(len(texts), np.int32),
        np.empty(len(texts), np.int32),
    )
    network.classify(tuple(map(readable, texts)), sums, counts, known_counts)
    places = {word: index for index, word in enumerate(vocabulary.entries)}
    indices = [[places.get(word, UNKNOWN) for word in some] for some in words]
    np.testing.assert_array_equal(sums[:, 0], [sum(set(some)) for some in indices])
    np.testing.assert_array_equal(counts, [len(some) for some in indices])
    np.testing.assert_array_equal(known_counts, [len(some) - some.count(UNKNOWN) for some in indices])


def test_no_character_above_the_table_has_case_or_separates_words() -> None:
    above = "".join(map(chr, range(len(characters()), sys.maxunicode + 1)))
    assert separate(above) == above


@pytest.mark.parametrize("length", [*range(130), 255, 256, 257, 300, 4096])
def test_words_end_where_the_text_or_a_block_of_it_ends(
    vocabulary: Vocabulary, engine: CompiledEngine, length: int
) -> None:
    word = "x" * length
    separated = " " * length
    texts = [word, f"{separated}film", f"{word} film", f"film{separated}", f"{word}.", f"{word}y", f"{separated}a!the"]
    check_reading(vocabulary, engine, texts)


def test_a_text_without_words_has_the_start_alone(vocabulary: Vocabulary, engine: CompiledEngine) -> None:
    for text in ["", " ", FILTERS, FILTERS * 100]:
        assert engine.features(text) == {START: 1}
    check_reading(vocabulary, engine, ["", FILTERS])


def test_a_word_of_the_same_hash_as_another_is_not_taken_for_it() -> None:
    # Of one hash in native/tokenizer.c, found by a search: its multiplications can be undone.
    entry, twin = ("x" * 16 + end for end in ("sa861dhyaaaadfaa", "k1mwheb7wlkjz9xm"))
    layers = ((np.zeros((3, 2), np.float32), np.zeros(2, np.float32), "softmax"),)
    network = Network(characters(), ("start", "unknown", entry), layers, 0, 1)
    assert network.features(entry) == {0: 1, 2: 1}
    assert network.features(twin) == {0: 1, 1: 1}


def test_the_reserved_entries_are_no_words(vocabulary: Vocabulary, engine: CompiledEngine) -> None:
    check_reading(vocabulary, engine, [" ".join(vocabulary.entries), "[START]", "PADDING", "[UNUSED 3]"])


@given(texts=st.lists(TEXTS, min_size=1))
def test_probabilities_are_those_of_tensorflow(
    reference: TensorFlowEngine, engine: CompiledEngine, texts: list[str]
) -> None:
    check_probabilities(reference, engine, texts)


def test_a_thousand_texts_and_a_megabyte_are_those_of_tensorflow(
    reference: TensorFlowEngine, engine: CompiledEngine
) -> None:
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(WORDS, size)) for size in generator.integers(0, 300, 1024)]
    check_probabilities(reference, engine, texts)
    check_probabilities(reference, engine, [("The film. " * 105_000)[: 1 << 20], "ⱥⱥⱥⱥ ΣΑΣ " * 50_000, "x" * (1 << 20)])


def test_a_text_of_ten_thousand_words_sums_as_tensorflow_does(tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(10_000)]
    version = write_model(tmp_path, "test", words=words, hidden=(64,), scale=0.01)
    check_probabilities(
        TensorFlowEngine(version.path), CompiledEngine(version), [" ".join(words), " ".join(words[::-2])]
    )


@pytest.mark.parametrize("activation", ["linear", "relu", "sigmoid", "softmax", "one-vs-rest"])
@pytest.mark.parametrize("units", [2, 15, 16, 17, 100])
def test_layers_compute_what_numpy_computes(activation: str, units: int) -> None:
    generator = np.random.default_rng(0)
    entries = ("start", "unknown", "a", "b", "c")
    first, second = generator.normal(size=(5, units)), generator.normal(size=(units, 7))
    bias, end = generator.normal(size=units), generator.normal(size=7)
    layers = tuple(
        (k.astype(np.float32), b.astype(np.float32), a)
        for k, b, a in ((first, bias, activation), (second, end, "linear"))
    )
    network = Network(characters(), entries, layers, 0, 1)
    actual = np.empty((1, 7), np.float32)
    network.classify(("a c z",), actual, np.empty(1, np.int32), np.empty(1, np.int32))
    x = first[[0, 1, 2, 4]].sum(axis=0) + bias
    sigmoid = 1 / (1 + np.exp(-x))
    hidden = {
        "linear": x,
        "relu": np.maximum(x, 0),
        "sigmoid": sigmoid,
        "softmax": np.exp(x) / np.exp(x).sum(),
        "one-vs-rest": sigmoid / sigmoid.sum(),
    }
    np.testing.assert_allclose(actual[0], hidden[activation] @ second + end, rtol=0, atol=1e-5)


def test_one_against_the_rest_sums_to_one_where_every_sigmoid_vanishes() -> None:
    layers = ((np.zeros((3, 4), np.float32), np.array([-300, -301, -300, -400], np.float32), "one-vs-rest"),)
    actual = np.empty((1, 4), np.float32)
    network = Network(characters(), ("start", "unknown", "a"), layers, 0, 1)
    network.classify(("a",), actual, np.empty(1, np.int32), np.empty(1, np.int32))
    weights = np.exp([0, -1, 0, -100])
    np.testing.assert_allclose(actual[0], weights / weights.sum(), rtol=0, atol=1e-6)


def test_calls_at_the_same_time_do_not_disturb_one_another(engine: CompiledEngine) -> None:
    generator = np.random.default_rng(0)
    batches = [[" ".join(generator.choice(WORDS, 200)) for _ in range(50)] for _ in range(40)]
    alone = [engine.classify(batch) for batch in batches]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(engine.classify, batches * 5))
    for number, prediction in enumerate(together):
        for actual, expected in zip(prediction, alone[number % len(batches)], strict=True):
            np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("text", ["\ud800", "film \udfff", "ΣİΑ\udc00"])
def test_a_lone_surrogate_is_a_value_error(engine: CompiledEngine, text: str) -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        engine.classify(["fine", text])


def test_versions_that_are_no_such_network_are_refused(version: VersionFolder) -> None:
    metadata = version.metadata
    embedding = PaddedSequence(metadata.vectorizer.num_words, 256, 16)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"vectorizer": embedding}, "only models over words or n-grams"),
        ({"network": (Layer(16, "relu"),)}, "neither in softmax, one-vs-rest nor one sigmoid unit"),
        ({"network": (Layer(1, "softmax"),)}, "neither in softmax, one-vs-rest nor one sigmoid unit"),
        ({"network": (Layer(7, "relu"), metadata.network[-1])}, "dense/0/kernel: shape"),
        ({"network": (*metadata.network, metadata.network[-1])}, "no tensor|shape"),
    ]
    for change, message in changes:
        folder = VersionFolder(version.path)
        folder.metadata = msgspec.structs.replace(metadata, **change)
        with pytest.raises(ModelError, match=message):
            CompiledEngine(folder)
