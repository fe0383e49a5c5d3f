"""The specification, Keras's own code, Keras's own data, and the exported graph give the same words and indices."""

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from keras.src.legacy.preprocessing.text import text_to_word_sequence

from tests.textmodel.every_code_point import differences
from tests.textmodel.strategies import TEXTS
from textmodel import graph
from textmodel.graph import Tokenizer
from textmodel.tokenization import NEWER_CHARACTERS, STAND_IN, is_word, lowercase, spans, tokenize
from textmodel.vocabulary import FIRST_WORD, START, UNKNOWN, Vocabulary

ROOT = Path(__file__).parents[2]


def _tensor(texts: list[str]) -> tf.Tensor:
    return tf.constant(np.array([text.encode() for text in texts], dtype=object), tf.string)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" ... \t\n", []),
        ("Don't stop, BELIEVIN'!", ["don't", "stop", "believin'"]),
        ("a\u00a0b\rc\u3000d e", ["a\u00a0b\rc\u3000d", "e"]),
        ("İI ΟΔΟΣ ΣΑΣ. \u212a", ["i̇i", "οδος", "σας", "k"]),
        ("a\0b", [f"a{STAND_IN}b"]),
        ("\u2c2f", [STAND_IN]),
    ],
)
def test_a_text_is_lowered_and_split_at_spaces_and_filter_characters(text: str, words: list[str]) -> None:
    assert tokenize(text) == words


@given(TEXTS.map(lambda text: re.sub(f"[\0{NEWER_CHARACTERS}]", "", text)))
def test_words_are_keras_s(text: str) -> None:
    assert tokenize(text) == text_to_word_sequence(text)


@given(TEXTS)
@example("İİ, İ a")
@example("ΑΣ.Σ ΑΣ\0\u2c2f")
def test_the_spans_cut_from_the_text_are_its_words_before_they_were_lowered(text: str) -> None:
    lowered = lowercase(text)
    # A character's neighbours never change how long its lower case is.
    places = [tuple(len(lowercase(text[:end])) for end in span) for span in spans(text)]
    assert [lowered[start:end] for start, end in places] == tokenize(text)


@given(TEXTS)
def test_a_vocabulary_can_hold_every_word_without_a_caseless_character(text: str) -> None:
    for word in tokenize(text):
        assert is_word(word) == (not re.search(f"[\r{STAND_IN}]", word))


@given(st.lists(TEXTS, min_size=1, max_size=5))
@settings(max_examples=500)
@example(["İ", "", "\0", "a\0Σ", "Σ\u1734a"])
def test_the_graph_splits_texts_into_the_same_words(texts: list[str]) -> None:
    rows, words = graph.tokenize(_tensor(texts))
    expected = [(row, word) for row, text in enumerate(texts) for word in tokenize(text)]
    found = [(row, word.decode()) for row, word in zip(rows.numpy().tolist(), words.numpy().tolist(), strict=True)]
    assert len(found) == len(expected)
    for (row, word), (expected_row, expected_word) in zip(found, expected, strict=True):
        assert row == expected_row
        assert word == expected_word or not (is_word(word) or is_word(expected_word))


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    """Words in lower case, and in capitals as Keras's index has some, which no text reaches."""
    words = ["the", "The", "THE", "σας", "ΣΑΣ", "οδος", "οδοσ", "i̇stanbul", "istanbul", "ıi", "ii", "k", "K", "café"]
    return Vocabulary.from_ranks({word: rank for rank, word in enumerate(words, 1)}, FIRST_WORD + len(words))


@pytest.fixture(scope="module")
def tokenizer(vocabulary: Vocabulary, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.txt"
    vocabulary.write(path)
    return Tokenizer(path)


@given(st.lists(TEXTS, min_size=1, max_size=5))
@settings(max_examples=300)
@example(["The THE the ΣΑΣ σασ Οδος İSTANBUL istanbul II \u212a nowhere [UNKNOWN] [PADDING]", ""])
def test_the_graph_gives_the_same_indices_and_counts(
    vocabulary: Vocabulary, tokenizer: Tokenizer, texts: list[str]
) -> None:
    words = tokenizer(_tensor(texts))
    found = [[START] for _ in texts]
    for row, index in zip(words.row.numpy().tolist(), words.index.numpy().tolist(), strict=True):
        found[row].append(index)
    expected = [vocabulary.indices(text) for text in texts]
    assert found == expected
    batch = tf.constant(len(texts), tf.int64)
    assert words.count(batch).numpy().tolist() == [len(indices) - 1 for indices in expected]
    known = [sum(index not in {START, UNKNOWN} for index in indices) for indices in expected]
    assert words.count_known(batch).numpy().tolist() == known


def test_the_graph_splits_every_code_point_alone_and_beside_a_sigma_alike() -> None:
    assert list(differences()) == []


@pytest.mark.parametrize(
    ("locale", "lowered"),
    [("tr_TR.UTF-8", r"'\u0131' '\xec'"), ("lt_LT.UTF-8", r"'i' 'i\u0307\u0300'")],  # a dotless i; a dot kept
)
def test_the_locale_of_the_process_changes_nothing(locale: str, lowered: str) -> None:
    program = [sys.executable, "-m", "tests.textmodel.every_code_point"]
    environment = {**os.environ, "LC_ALL": locale, "TF_USE_LEGACY_KERAS": "1"}  # which spares the import of Keras
    run = subprocess.run(program, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == f"ICU lowers {lowered}\ndifferent: []\n"


@pytest.mark.parametrize(
    ("name", "texts_files", "arrays"),
    [
        ("imdb", ["imdb-train.jsonl.gz", "imdb-test.jsonl.gz"], ["x_train", "x_test"]),
        ("reuters", ["reuters.jsonl.gz"], ["x"]),
    ],
)
def test_raw_texts_give_keras_s_sequences_except_for_words_outside_its_index(
    name: str, texts_files: list[str], arrays: list[str], data_dir: Path
) -> None:
    index = json.loads((data_dir / f"{name}_word_index.json").read_bytes())
    vocabulary = Vocabulary.from_ranks(index, 10_000)
    with np.load(data_dir / f"{name}.npz", allow_pickle=True) as file:
        ranks = [row for array in arrays for row in file[array]]
    texts = [text for texts_file in texts_files for text in _raw(data_dir / texts_file)]
    assert len(texts) == len(ranks) == {"imdb": 50_000, "reuters": 11_228}[name]
    for text, row in zip(texts, ranks, strict=True):
        words = zip(tokenize(text), vocabulary.indices(text)[1:], strict=True)
        seen = [of_word for word, of_word in words if word in index]
        assert seen == [rank + 3 if rank + 3 < 10_000 else UNKNOWN for rank in row]


def _raw(path: Path) -> list[str]:
    with gzip.open(path) as file:
        return [json.loads(line)["text"] for line in file]
