"""The specification of n-gram features against their definition in plain Python, and the graph against both."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given
from hypothesis import strategies as st

from tests.textmodel.strategies import TEXTS, WORDS
from tests.tiny_model import write_model
from textmodel import graph
from textmodel.metadata import NGrams
from textmodel.ngrams import features, weigh
from textmodel.version_folder import VOCABULARY_FILE, VersionFolder
from textmodel.vocabulary import FIRST_WORD, START, UNKNOWN

GraphFeatures = Callable[[tf.Tensor], Sequence[tf.Tensor]]
NUM_WORDS = 20
VECTORIZERS = [
    NGrams(NUM_WORDS, 1, 0, "log", normalize=True),
    NGrams(NUM_WORDS, 2, 1, "binary", normalize=True),
    NGrams(NUM_WORDS, 2, 64, "log", normalize=False),
    NGrams(NUM_WORDS, 3, 1 << 12, "binary", normalize=False),
    NGrams(NUM_WORDS, 3, 64, "log", normalize=True),
]


def hashed(window: Sequence[int]) -> int:
    """The hash of a window, in integers without bounds."""
    value = 0
    for index in window:
        product = (value + index) * 663_608_941 % 2**32
        value = product ^ product // 2**15
    return value


def features_of(vectorizer: NGrams, text: Sequence[int]) -> dict[int, int]:
    """The features of one text and their counts, by definition."""
    counts = Counter(index for index in text if index >= FIRST_WORD)
    for order in range(2, vectorizer.orders + 1):
        for start in range(len(text) - order + 1):
            window = text[start : start + order]
            if min(window) >= FIRST_WORD:
                counts[vectorizer.num_words + hashed(window) % vectorizer.buckets] += 1
    return dict(sorted(counts.items()))


def sequence(words: Sequence[int]) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array([START, *words], np.int32)


INDICES = st.lists(st.one_of(st.just(UNKNOWN), st.integers(FIRST_WORD, NUM_WORDS - 1)))


@pytest.mark.parametrize("vectorizer", VECTORIZERS, ids=str)
@given(texts=st.lists(INDICES))
def test_the_features_of_each_text_are_its_known_words_and_the_hashes_of_its_windows(
    vectorizer: NGrams, texts: list[list[int]]
) -> None:
    found = features(vectorizer, [sequence(text) for text in texts])
    assert len(found.row_splits) == len(texts) + 1
    for number, text in enumerate(texts):
        part = slice(*found.row_splits[number : number + 2])
        assert dict(zip(found.ids[part].tolist(), found.counts[part].tolist(), strict=True)) == features_of(
            vectorizer, text
        )
        assert (np.diff(found.ids[part]) > 0).all()
    assert found.ids.max(initial=0) < vectorizer.features


@pytest.mark.parametrize("vectorizer", VECTORIZERS, ids=str)
@given(texts=st.lists(INDICES))
def test_a_component_is_the_scale_times_the_weighted_count(vectorizer: NGrams, texts: list[list[int]]) -> None:
    scale = np.random.default_rng(0).normal(size=vectorizer.features).astype(np.float32)
    found = features(vectorizer, [sequence(text) for text in texts])
    values = weigh(vectorizer, found, scale)
    assert values.dtype == np.float32
    for number, text in enumerate(texts):
        expected = [
            scale[feature] * (1 + math.log(count) if vectorizer.counts == "log" else 1)
            for feature, count in features_of(vectorizer, text).items()
        ]
        norm = math.hypot(*expected) if vectorizer.normalize else 1
        part = slice(*found.row_splits[number : number + 2])
        np.testing.assert_allclose(values[part], [value / norm for value in expected], rtol=1e-6)


def test_a_vector_of_zeros_stays_zero() -> None:
    vectorizer = NGrams(NUM_WORDS, 3, 64, "log", normalize=True)
    found = features(vectorizer, [sequence([4, 5, 6])])
    assert weigh(vectorizer, found, np.zeros(vectorizer.features, np.float32)).tolist() == [0] * 6


def test_many_texts_have_the_features_that_each_has_alone() -> None:
    random = np.random.default_rng(0)
    vectorizer = NGrams(NUM_WORDS, 3, 1 << 10, "log", normalize=True)
    texts = [sequence(random.integers(UNKNOWN, NUM_WORDS, length).tolist()) for length in random.integers(0, 9, 5000)]
    together = features(vectorizer, texts)
    alone = [features(vectorizer, [text]) for text in texts]
    np.testing.assert_array_equal(np.diff(together.row_splits), [len(text.ids) for text in alone])
    np.testing.assert_array_equal(together.ids, np.concatenate([text.ids for text in alone]))
    np.testing.assert_array_equal(together.counts, np.concatenate([text.counts for text in alone]))


@pytest.mark.parametrize("bits", [8, 16, 20])
def test_frequent_words_in_every_order_spread_over_the_buckets_as_random_numbers_do(bits: int) -> None:
    vectorizer = NGrams(1 << 17, 2, 1 << bits, "binary", normalize=False)
    words = np.arange(FIRST_WORD, FIRST_WORD + 1000)
    first, second = np.meshgrid(words, words[:100])
    pairs = np.stack([first, second, np.full_like(first, UNKNOWN)], axis=-1).ravel()
    found = features(vectorizer, [sequence(pairs.tolist())])
    hashed = found.ids >= vectorizer.num_words
    counts = np.zeros(vectorizer.buckets)
    counts[found.ids[hashed] - vectorizer.num_words] = found.counts[hashed]
    mean = counts.mean()
    assert np.square(counts - mean).sum() / mean / vectorizer.buckets == pytest.approx(1, abs=0.2)  # chi squared


@pytest.fixture(scope="module", params=VECTORIZERS, ids=str)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VersionFolder:
    """A version whose words are those that `TEXTS` are made of."""
    vectorizer: NGrams = request.param
    return write_model(
        tmp_path_factory.mktemp("models"),
        "test",
        words=WORDS,
        vectorizer=lambda size: msgspec.structs.replace(vectorizer, num_words=size),
    )


@pytest.fixture(scope="module")
def graph_features(exported: VersionFolder) -> GraphFeatures:
    """The features of texts, traced as in an exported graph."""
    vectorizer, tokenizer = exported.metadata.vectorizer, graph.Tokenizer(exported.assets / VOCABULARY_FILE)
    assert isinstance(vectorizer, NGrams)

    def eager(texts: tf.Tensor) -> Sequence[tf.Tensor]:
        return graph.features(vectorizer, tokenizer(texts))

    traced: GraphFeatures = tf.function(eager, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    return traced


@given(texts=st.lists(TEXTS, min_size=1, max_size=5))
@example(texts=["", "the", "don't the don't the", " ", "\0", "café unknown σας the"])
def test_the_graph_finds_the_same_features_in_any_text(
    exported: VersionFolder, graph_features: GraphFeatures, texts: list[str]
) -> None:
    vectorizer, vocabulary = exported.metadata.vectorizer, exported.vocabulary
    assert isinstance(vectorizer, NGrams)
    found = graph_features(tf.constant(np.array([text.encode() for text in texts], dtype=object), tf.string))
    row, feature, count = (tensor.numpy() for tensor in found)
    expected = features(vectorizer, [np.array(vocabulary.indices(text), np.int32) for text in texts])
    order = np.lexsort((feature, row))
    np.testing.assert_array_equal(np.bincount(row, minlength=len(texts)), np.diff(expected.row_splits))
    np.testing.assert_array_equal(feature[order], expected.ids)
    np.testing.assert_array_equal(count[order], expected.counts)
