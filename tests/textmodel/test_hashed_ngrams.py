"""Hashed n-grams: the specification against their definition in plain Python, the graph against the specification."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.textmodel.strategies import UNICODE_TEXTS
from tests.tiny_model import write_model
from textmodel import graph
from textmodel.hashed_ngrams import CHARACTERS_AT_ONCE, blocks, count_words, features, known_hashes, rows_of, word_bits
from textmodel.metadata import CharacterNGrams, HashedNGrams
from textmodel.ngrams import weigh
from textmodel.tensorflow_engine import TensorFlowEngine
from textmodel.unicode_text import read, tokenize

VECTORIZERS = [
    HashedNGrams(1, None, 256, 100, "log", normalize=True),
    HashedNGrams(3, None, 1 << 12, 2000, "binary", normalize=False),
    HashedNGrams(0, CharacterNGrams(1, 6, across_words=True), 1 << 12, 1000, "log", normalize=True),
    HashedNGrams(0, CharacterNGrams(2, 5, across_words=False), 1 << 14, 5000, "log", normalize=True),
    HashedNGrams(2, CharacterNGrams(1, 1, across_words=False), 1, 1, "binary", normalize=True),
    HashedNGrams(2, CharacterNGrams(3, 4, across_words=True), 1 << 22, 1 << 16, "log", normalize=True),
    HashedNGrams(1, CharacterNGrams(1, 3, across_words=False), 64, 0, "log", normalize=True),
]
HARD = [
    "",
    " ",
    "a",
    "the don't THE",
    "x" * 70 + " " + "x" * 64,
    "정말 최고예요ㅠㅠ!!",
    "東京はとても大きい。iPhoneを買う ภาษาไทย",
    "e\u0301 \u1100\u1161\u11a8",
    "\0😀😀",
]


def hash_of(seed: int, items: list[int]) -> int:
    value = seed
    for item in items:
        product = (value + item) * 663_608_941 % 2**32
        value = product ^ product // 2**15
    return value


def hashes(vectorizer: HashedNGrams, text: str) -> list[int]:
    """The hashes of a text's n-grams, by definition."""
    found = []
    words = [hash_of(0x9E3779B9, [ord(character) for character in word[:64]]) for word in tokenize(text)]
    for order in range(1, vectorizer.words + 1):
        for start in range(len(words) - order + 1):
            window = words[start : start + order]
            found.append(window[0] if order == 1 else hash_of(0, window))
    characters = vectorizer.characters
    if characters is not None:
        stream = "".join(map(chr, read([text]).code.tolist()))
        for order in range(characters.min, characters.max + 1):
            for start in range(len(stream) - order + 1):
                gram = stream[start : start + order]
                if gram != " " and (characters.across_words or " " not in gram[1:-1]):
                    found.append(hash_of(0, [ord(character) for character in gram]))
    return found


@pytest.mark.parametrize("vectorizer", VECTORIZERS, ids=str)
@given(texts=st.lists(UNICODE_TEXTS, max_size=5))
@example(texts=HARD)
def test_the_features_of_a_text_are_the_buckets_of_its_ngrams(vectorizer: HashedNGrams, texts: list[str]) -> None:
    found = features(vectorizer, texts)
    assert len(found.row_splits) == len(texts) + 1
    for number, text in enumerate(texts):
        part = slice(*found.row_splits[number : number + 2])
        expected = Counter(value % vectorizer.buckets for value in hashes(vectorizer, text))
        assert dict(zip(found.ids[part].tolist(), found.counts[part].tolist(), strict=True)) == expected
        assert (np.diff(found.ids[part]) > 0).all()


def test_many_texts_have_the_features_that_each_has_alone() -> None:
    random = np.random.default_rng(0)
    vectorizer = VECTORIZERS[2]
    texts = [" ".join(random.choice(["a", "bc", "é", "😀"], size)) for size in random.integers(0, 5, 2500)]
    together, alone = features(vectorizer, texts), [features(vectorizer, [text]) for text in texts]
    np.testing.assert_array_equal(np.diff(together.row_splits), [len(text.ids) for text in alone])
    np.testing.assert_array_equal(together.ids, np.concatenate([text.ids for text in alone]))
    np.testing.assert_array_equal(together.counts, np.concatenate([text.counts for text in alone]))


def test_rows_are_the_places_of_the_buckets_that_are_kept() -> None:
    vectorizer = VECTORIZERS[2]
    found = features(vectorizer, HARD)
    kept = np.unique(found.ids)[::2]
    rows = rows_of(found, kept)
    for number in range(len(HARD)):
        part, kept_part = (slice(*splits[number : number + 2]) for splits in (found.row_splits, rows.row_splits))
        pairs = zip(found.ids[part].tolist(), found.counts[part].tolist(), strict=True)
        expected = [(bucket, count) for bucket, count in pairs if bucket in kept]
        assert list(zip(kept[rows.ids[kept_part]], rows.counts[kept_part], strict=True)) == expected
    assert len(rows_of(found, np.zeros(0, np.int32)).ids) == 0


def test_a_word_is_known_if_the_bit_of_its_hash_is_set() -> None:
    hashes = known_hashes(["bc 각", "x" * 70], characters=True).hash
    assert hashes.tolist() == [hash_of(0x9E3779B9, list(map(ord, word))) for word in ("bc", "각", "x" * 64)]
    counts = count_words(["a bc, BC d", "", "q \u1100\u1161\u11a8", "..."], word_bits(hashes))
    assert (counts.words.tolist(), counts.known.tolist()) == ([4, 0, 2, 0], [2, 0, 1, 0])
    assert count_words(["bc"], word_bits(hashes[:0])).known.tolist() == [0]


def test_a_run_without_spaces_is_known_by_most_of_its_pairs_of_characters() -> None:
    bits = word_bits(known_hashes(["東京は大きい都", "the"], characters=True).hash)
    assert count_words(["東京は大きい都"], bits).known.tolist() == [1]
    assert count_words(["京は大都"], bits).known.tolist() == [1]  # two of three
    assert count_words(["京は小さ"], bits).known.tolist() == [0]  # one of three
    assert count_words(["た"], bits).known.tolist() == [0]
    assert count_words(["thethe"], bits).known.tolist() == [0]  # a script with spaces
    assert known_hashes(["the"], characters=True).hash.tolist() == [hash_of(0x9E3779B9, list(map(ord, "the")))]


def test_without_ngrams_of_characters_a_run_is_known_as_a_whole_only() -> None:
    run = "東京は大きい都でありその人口もまた大きい"
    parts = [run[start:end] for start in range(len(run)) for end in range(start + 2, len(run))]
    for characters, known in ((True, len(parts)), (False, len(parts) / 8)):  # some by chance
        bits = word_bits(known_hashes([run], characters=characters).hash)
        assert count_words([run], bits).known.tolist() == [1]
        assert (count_words(parts, bits).known.sum() >= known) == characters


@pytest.mark.parametrize("words", [1, 1000, 100_000])
def test_of_the_bits_few_are_set_whatever_is_known(words: int) -> None:
    bits = word_bits(np.random.default_rng(0).integers(0, 1 << 32, words))
    assert len(bits).bit_count() == 1
    assert len(bits) <= max(2, 4 * words)
    assert 0 < np.unpackbits(bits).mean() < 0.07


@pytest.mark.parametrize("bits", [8, 16, 20])
@pytest.mark.parametrize("first", ["a", "가"])
def test_pairs_of_letters_spread_over_the_buckets_as_random_numbers_do(bits: int, first: str) -> None:
    vectorizer = HashedNGrams(0, CharacterNGrams(2, 2, across_words=True), 1 << bits, 0, "log", normalize=True)
    count = 26 if first == "a" else 500
    letters = [chr(ord(first) + number) for number in range(count)]
    # Every pair once.
    text = "".join(one + "".join(one + other for other in letters[number + 1 :]) for number, one in enumerate(letters))
    found = features(vectorizer, [text])
    counts = np.zeros(vectorizer.buckets)
    counts[found.ids] = found.counts
    mean = counts.mean()
    tolerance = 5 * np.sqrt(2 / vectorizer.buckets) + 0.05
    assert np.square(counts - mean).sum() / mean / vectorizer.buckets == pytest.approx(1, abs=tolerance)  # chi squared


def tensor(texts: list[str]) -> tf.Tensor:
    return tf.constant(np.array([text.encode() for text in texts], dtype=object), tf.string)


@pytest.mark.parametrize("vectorizer", VECTORIZERS, ids=str)
def test_the_graph_computes_the_same_vectors_and_counts(vectorizer: HashedNGrams) -> None:
    random = np.random.default_rng(0)
    kept = np.sort(random.permutation(vectorizer.buckets)[: vectorizer.kept]).astype(np.int32)
    scale = random.normal(size=vectorizer.kept).astype(np.float32)
    known_words = random.integers(0, 256, 32, np.uint8)
    layer = graph.HashedNGramVectorizer(vectorizer, kept, scale, known_words)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)  # type: ignore[untyped-decorator]
    def vectorize(text: tf.Tensor) -> graph.HashedVectors:
        return layer(text, tf.size(text, tf.int64))

    @given(texts=st.lists(UNICODE_TEXTS, min_size=1, max_size=5))
    @example(texts=HARD)
    @settings(max_examples=60, deadline=None)
    def check(texts: list[str]) -> None:
        (row, feature, value), words, known = vectorize(tensor(texts))
        rows = rows_of(features(vectorizer, texts), kept)
        order = np.lexsort((feature, row))
        np.testing.assert_array_equal(np.bincount(row, minlength=len(texts)), np.diff(rows.row_splits))
        np.testing.assert_array_equal(feature.numpy()[order], rows.ids)
        np.testing.assert_allclose(value.numpy()[order], weigh(vectorizer, rows, scale), rtol=1e-5)
        counts = count_words(texts, known_words)
        np.testing.assert_array_equal(words, counts.words)
        np.testing.assert_array_equal(known, counts.known)

    check()


def test_a_version_of_hashed_ngrams_is_served_by_tensorflow(tmp_path: Path) -> None:
    version = write_model(tmp_path, "test", hidden=(), vectorizer=lambda _: VECTORIZERS[5], tokenization="unicode")
    answer = TensorFlowEngine(version.path).classify(HARD)
    assert answer.probabilities.shape == (len(HARD), 2)
    assert not (version.assets / "vocabulary.txt").exists()


def test_few_long_texts_are_read_together_and_their_features_are_those_of_each() -> None:
    texts = [chr(ord("a") + number) * (CHARACTERS_AT_ONCE // 3) for number in range(5)]
    texts += ["short text"] * 2000
    assert [len(block) for block in blocks(texts)][:2] == [4, 1024]
    assert [text for block in blocks(texts) for text in block] == texts
    found = features(VECTORIZERS[0], texts)
    for row in (0, 3, 4, 5, 2004):
        alone = features(VECTORIZERS[0], [texts[row]])
        of_row = slice(*found.row_splits[row : row + 2])
        assert found.ids[of_row].tolist() == alone.ids.tolist()
        assert found.counts[of_row].tolist() == alone.counts.tolist()
