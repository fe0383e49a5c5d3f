"""The compiled engine on hashed n-grams, and on a vocabulary of the `unicode` tokenization, beside the specification
and TensorFlow.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.textmodel.strategies import UNICODE_TEXTS
from tests.textmodel.test_hashed_ngrams import HARD, VECTORIZERS
from tests.tiny_model import write_model
from textmodel import load_engine
from textmodel._native import Network
from textmodel.characters import table
from textmodel.compiled_engine import CompiledEngine
from textmodel.composition import composition
from textmodel.hashed_ngrams import count_words, features, rows_of
from textmodel.metadata import HashedNGrams, MultiHot
from textmodel.ngrams import weigh
from textmodel.probes import TOLERANCE
from textmodel.tensorflow_engine import TensorFlowEngine
from textmodel.vocabulary import START

LONG = ["word " * 2000, "x" * 5000, "가나다 " * 999, "é" * 300 + "😀" * 300, "..." * 999]


KNOWN_WORDS = np.random.default_rng(1).integers(0, 256, 32, np.uint8)


def network(
    vectorizer: HashedNGrams, kept: NDArray[np.int32], scale: NDArray[np.float32], kernel: NDArray[np.float32]
) -> Network:
    characters = vectorizer.characters
    hashed = (
        *(kept, scale, KNOWN_WORDS, vectorizer.buckets, vectorizer.words),
        *((characters.min, characters.max, characters.across_words) if characters else (0, 0, False)),
        *(vectorizer.counts == "log", vectorizer.normalize),
    )
    layers = ((kernel, np.ones(kernel.shape[1], np.float32), "linear"),)
    return Network(table(), (), layers, 0, 0, hashed=hashed, composition=composition())


@pytest.mark.parametrize("vectorizer", VECTORIZERS, ids=str)
def test_any_text_has_the_features_sums_and_counts_of_the_specification(vectorizer: HashedNGrams) -> None:
    random = np.random.default_rng(0)
    kept = np.sort(random.permutation(vectorizer.buckets)[: vectorizer.kept]).astype(np.int32)
    scale = random.normal(size=vectorizer.kept).astype(np.float32)
    kernel = random.normal(size=(vectorizer.kept, 3)).astype(np.float32)
    compiled = network(vectorizer, kept, scale, kernel)

    @given(texts=st.lists(UNICODE_TEXTS, min_size=1, max_size=5))
    @example(texts=HARD + LONG)
    @settings(max_examples=150, deadline=None)
    def check(texts: list[str]) -> None:
        rows = rows_of(features(vectorizer, texts), kept)
        values = weigh(vectorizer, rows, scale).astype(np.float64)
        sums = np.empty((len(texts), 3), np.float32)
        words, known = np.empty(len(texts), np.int32), np.empty(len(texts), np.int32)
        compiled.classify(tuple(texts), sums, words, known)
        for number, text in enumerate(texts):
            part = slice(*rows.row_splits[number : number + 2])
            pairs = zip(rows.ids[part].tolist(), rows.counts[part].tolist(), strict=True)
            assert compiled.features(text) == dict(pairs), ascii(text)
            expected = values[part] @ kernel[rows.ids[part]] + 1
            tolerance = 1e-5 * (1 + np.abs(values[part, np.newaxis] * kernel[rows.ids[part]]).sum())
            np.testing.assert_allclose(sums[number], expected, rtol=0, atol=tolerance)
        counts = count_words(texts, KNOWN_WORDS)
        np.testing.assert_array_equal(words, counts.words)
        np.testing.assert_array_equal(known, counts.known)

    check()


@pytest.mark.parametrize("length", range(40))
def test_ngrams_are_the_same_wherever_a_text_begins_and_ends(length: int) -> None:
    for vectorizer in VECTORIZERS[2:4]:
        kept = np.arange(vectorizer.buckets, dtype=np.int32)
        one = np.ones(len(kept), np.float32)
        compiled = network(vectorizer, kept, one, one[:, np.newaxis])
        for text in (
            "x" * length,
            " " * length + "ab",
            "a " * length,
            "ab" + "\u3000" * length,
            "가" * 250 + "a" * length,
        ):
            found = features(vectorizer, [text])
            assert compiled.features(text) == dict(zip(found.ids.tolist(), found.counts.tolist(), strict=True))


@pytest.mark.parametrize("vectorizer", [VECTORIZERS[1], VECTORIZERS[5]], ids=str)
def test_both_engines_answer_alike_and_serve_without_a_vocabulary(vectorizer: HashedNGrams, tmp_path: Path) -> None:
    version = write_model(
        tmp_path, "test", hidden=(5,), scale=0.3, vectorizer=lambda _: vectorizer, tokenization="unicode"
    )
    compiled, reference = load_engine(version.path), TensorFlowEngine(version.path)
    assert compiled.name == "compiled"
    for texts in (HARD, LONG):
        actual, expected = compiled.classify(texts), reference.classify(texts)
        np.testing.assert_allclose(actual.probabilities, expected.probabilities, rtol=0, atol=TOLERANCE)
        np.testing.assert_array_equal(actual.words, expected.words)
        np.testing.assert_array_equal(actual.known_words, expected.known_words)
    batches = [HARD[first:] for first in range(len(HARD))] * 10
    with ThreadPoolExecutor(4) as threads:
        for texts, answer in zip(batches, threads.map(compiled.classify, batches), strict=True):
            np.testing.assert_array_equal(answer.probabilities, compiled.classify(texts).probabilities)


@pytest.mark.parametrize("context", ["%s ", "a\u0315%s\u0301"])
def test_every_code_point_is_read_alike(context: str) -> None:
    vectorizer = VECTORIZERS[3]
    kept, one = np.arange(vectorizer.buckets, dtype=np.int32), np.ones(vectorizer.buckets, np.float32)
    text = "".join(context % chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000)
    found = features(vectorizer, [text])
    expected = dict(zip(found.ids.tolist(), found.counts.tolist(), strict=True))
    assert network(vectorizer, kept, one, one[:, np.newaxis]).features(text) == expected


def test_half_a_million_marks_out_of_order_are_composed_in_linear_time() -> None:
    vectorizer = VECTORIZERS[3]
    kept, one = np.arange(vectorizer.buckets, dtype=np.int32), np.ones(vectorizer.buckets, np.float32)
    text = "a" + "\u0301\u0323" * 250_000
    found = features(vectorizer, [text])
    expected = dict(zip(found.ids.tolist(), found.counts.tolist(), strict=True))
    assert network(vectorizer, kept, one, one[:, np.newaxis]).features(text) == expected


WORDS = ("the", "don", "café", "σασ", "ㅠㅠ", "😀", "❤\ufe0f", "東京", "각", "ⱥ")


def test_a_vocabulary_of_the_unicode_tokenization_is_read_alike_by_all(tmp_path: Path) -> None:
    version = write_model(tmp_path, "test", words=WORDS, vectorizer=MultiHot, tokenization="unicode")
    vocabulary, compiled, reference = version.vocabulary, CompiledEngine(version), TensorFlowEngine(version.path)

    @given(
        texts=st.lists(
            st.one_of(UNICODE_TEXTS, st.lists(st.sampled_from((*WORDS, "ΣΑΣ", " ", ",", "!", "Ⱥ"))).map("".join)),
            min_size=1,
            max_size=5,
        )
    )
    @example(
        texts=[
            "CAFE\u0301 Don’t 😀😀the❤\ufe0f 「東京」ㅠㅠ!! \u1100\u1161\u11a8",
            "",
            "😀" * 500,
            "😀Ⱥ" * 99 + "©Ⱥ" * 99,
            "a©" * 100_000,  # the most words that so many bytes can have
        ]
    )
    @settings(max_examples=150, deadline=None)
    def check(texts: list[str]) -> None:
        indices = [vocabulary.indices(text) for text in texts]
        for text, words in zip(texts, indices, strict=True):
            assert compiled.features(text) == dict.fromkeys(words, 1), ascii(text)
        actual, expected = compiled.classify(texts), reference.classify(texts)
        assert actual.words.tolist() == [len(words) - 1 for words in indices]
        np.testing.assert_allclose(actual.probabilities, expected.probabilities, rtol=0, atol=TOLERANCE)
        np.testing.assert_array_equal(actual.words, expected.words)
        np.testing.assert_array_equal(actual.known_words, expected.known_words)

    check()
    assert vocabulary.indices("THE σας")[0] == START


def _hashed(**changes: Any) -> tuple[Any, ...]:
    values = {"kept": np.array([0, 3], np.int32), "scale": np.ones(2, np.float32), "known": np.zeros(1, np.uint8)}
    values |= {"buckets": 4, "words": 1}
    values |= {"min": 1, "max": 2, "across_words": True, "log": True, "normalize": True}
    return tuple((values | changes).values())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"buckets": 3}, "power of two"),
        ({"buckets": 0}, "power of two"),
        ({"words": 4}, "at most 3 words"),
        ({"max": 7}, "6 characters"),
        ({"min": 0}, "6 characters"),
        ({"min": 3}, "6 characters"),
        ({"kept": np.array([3, 0], np.int32)}, "kept buckets must be in ascending order"),
        ({"kept": np.array([0, 4], np.int32)}, "kept buckets must be in ascending order"),
        ({"kept": np.array([-1, 2], np.int32)}, "kept buckets must be in ascending order"),
        ({"kept": np.array([1], np.int32)}, "with one scale each"),
        ({"known": np.zeros(0, np.uint8)}, "power of two of bytes"),
        ({"known": np.zeros(3, np.uint8)}, "power of two of bytes"),
    ],
)
def test_hashed_ngrams_that_do_not_fit_are_refused(changes: dict[str, Any], says: str) -> None:
    layers = ((np.ones((2, 2), np.float32), np.ones(2, np.float32), "softmax"),)
    Network(table(), (), layers, 0, 0, hashed=_hashed())
    with pytest.raises(ValueError, match=says):
        Network(table(), (), layers, 0, 0, hashed=_hashed(**changes))


def test_hashed_ngrams_are_a_tuple_or_none() -> None:
    with pytest.raises(TypeError, match="hashed must be a tuple or None"):
        Network(table(), (), (), 0, 0, hashed=[])  # type: ignore[arg-type]


def test_a_table_of_characters_holds_ascii_and_nothing_but_characters() -> None:
    layers = ((np.ones((2, 2), np.float32), np.ones(2, np.float32), "softmax"),)
    for characters in (table()[:127], np.full(200, 0x110000, np.uint32)):
        with pytest.raises(ValueError, match="128 or more uint32 code points"):
            Network(characters, (), layers, 0, 0, hashed=_hashed())
