"""The `unicode` tokenization: its definition, and the same in the graph."""

import sys
import unicodedata

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.textmodel import unicode_table
from tests.textmodel.strategies import UNICODE_TEXTS
from textmodel import characters, unicode_graph
from textmodel.unicode_text import normalize, places, read, spans, tokenize


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" ...\t\r\n\0\u3000\u200b", []),
        ("Don't stop, BELIEVIN'! C++ 3.14", ["don", "t", "stop", "believin", "c", "3", "14"]),
        ("a\u00a0b\rc\u3000d\ufeffe", ["a", "b", "c", "d", "e"]),
        ("「東京」、«été»… l’été", ["東京", "été", "l", "été"]),
        ("İstanbul ΟΔΟΣ ΟΔΟς", ["istanbul", "οδοσ", "οδοσ"]),
        ("정말 최고예요ㅠㅠ!!", ["정말", "최고예요ㅠㅠ"]),
        ("great😀😀ok", ["great", "😀", "😀", "ok"]),
        ("👍🏽 ❤\ufe0f", ["👍🏽", "❤\ufe0f"]),
        ("می\u200cخواهم क्\u200dष", ["می\u200cخواهم", "क्\u200dष"]),
        ("a\U0001e08fb \uffff", ["a\uffffb", "\uffff"]),
    ],
)
def test_separators_of_all_scripts_separate_words(text: str, words: list[str]) -> None:
    assert tokenize(text) == words


@given(text=UNICODE_TEXTS, form=st.sampled_from(["NFC", "NFD"]))
def test_canonically_equivalent_texts_are_read_alike(text: str, form: str) -> None:
    # Of the characters that Unicode 14 assigns: this Python may know more.
    text = normalize(text)
    equivalent = unicodedata.normalize(form, text)  # type: ignore[arg-type]
    for found, expected in zip(read([equivalent]), read([text]), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_long_run_of_marks_is_normalized_as_python_does_and_in_linear_time() -> None:
    text = "a" + "\u0301\u0323\u0344\u0315" * 100 + "é가" + "\u0323\u05ae" * 40
    assert normalize(text) == unicodedata.normalize("NFC", text)
    long = normalize("a" + "\u0301\u0323" * 250_000)  # 100 s by `unicodedata.normalize` alone
    assert long[:3] == "ạ\u0323\u0323"
    assert long.count("\u0301") == 250_000


@given(text=UNICODE_TEXTS)
@example("")
@example("a\u0301\u0323b \u1100\u1161\u11a8")
def test_spans_cut_out_of_the_text_what_its_words_were_made_from(text: str) -> None:
    start, end = places(text)
    assert len(start) == len(end) == len(normalize(text))
    pieces = dict.fromkeys(zip(start.tolist(), end.tolist(), strict=True))
    assert "".join(text[first:last] for first, last in pieces) == text
    whole = "".join(normalize(text[first:last]) for first, last in pieces)
    assert len(whole) == len(normalize(text))
    np.testing.assert_array_equal(read([whole]).code, read([text]).code)
    for word, (first, last) in zip(tokenize(text), spans(text), strict=True):
        assert word in tokenize(text[first:last]) or normalize(text[first:last]) != text[first:last]


@pytest.mark.skipif(unicodedata.unidata_version != unicode_table.UNICODE, reason="this Python has another Unicode")
def test_the_table_is_that_of_its_unicode() -> None:
    np.testing.assert_array_equal(characters.table(), unicode_table.table())


def tensor(texts: list[str]) -> tf.Tensor:
    return tf.constant(np.array([text.encode() for text in texts], dtype=object), tf.string)


TEXT = [tf.TensorSpec([None], tf.string)]
graph_read = tf.function(unicode_graph.read, input_signature=TEXT, autograph=False)
graph_tokenize = tf.function(unicode_graph.tokenize, input_signature=TEXT, autograph=False)


@given(texts=st.lists(UNICODE_TEXTS, min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
@example(["", "e\u0301", " ", "\0", "\u0301", "a\u0315\u0300\u05ae"])
def test_the_graph_reads_the_same_characters_and_words(texts: list[str]) -> None:
    expected, found = read(texts), graph_read(tensor(texts))
    for name in unicode_graph.GraphStream._fields:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    row, word = graph_tokenize(tensor(texts))
    words = [(number, word) for number, text in enumerate(texts) for word in tokenize(text)]
    assert list(zip(row.numpy().tolist(), map(bytes.decode, word.numpy().tolist()), strict=True)) == words


@pytest.mark.parametrize("context", ["%s ", "a\u0315%s\u0301"])
def test_the_graph_reads_every_code_point_alike(context: str) -> None:
    text = "".join(context % chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000)
    expected, found = read([text]), graph_read(tensor([text]))
    for name in unicode_graph.GraphStream._fields:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
