"""Compares the graph's tokenization with the specification at every code point. A program, so that a test can run it in
another locale.
"""

import sys
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from textmodel import graph
from textmodel.tokenization import is_word, tokenize

CONTEXTS = ("%s", "aΣ%sa", "aΣ%s", "%sΣ")
"""A character alone, and beside a sigma, whose lower case tells what the character is to its neighbours."""


CHARACTERS = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
LETTERS_WITH_CASE = [character for character in CHARACTERS if character.lower() != character.upper()]
"""The characters that a locale may lower in another way."""


def differences(characters: Sequence[str] = CHARACTERS) -> Iterator[tuple[str, str]]:
    """Yields the words, by the specification and by the graph, that differ and that a vocabulary could hold."""
    for context in CONTEXTS:
        text = " ".join(context % character for character in characters)
        _, words = graph.tokenize(tf.constant(np.array([text.encode()], dtype=object), tf.string))
        for expected, word in zip(tokenize(text), map(bytes.decode, words.numpy().tolist()), strict=True):
            if word != expected and (is_word(word) or is_word(expected)):
                yield expected, word


if __name__ == "__main__":
    print("ICU lowers", *(f"{tf.strings.lower(letter, encoding='utf-8').numpy().decode()!a}" for letter in "IÌ"))
    print("different:", list(differences(LETTERS_WITH_CASE)))
