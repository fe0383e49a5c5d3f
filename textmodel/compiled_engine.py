"""The compiled engine, for networks over words or n-grams. It needs no TensorFlow."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from textmodel._native import Network
from textmodel.characters import CLASS, CLASS_SHIFT, CODE, CONTEXT, WORD, table
from textmodel.composition import composition
from textmodel.engine import Prediction
from textmodel.metadata import HashedNGrams, MultiHot, NGrams
from textmodel.tokenization import STAND_IN, lowercase, separate
from textmodel.version_folder import VersionFolder
from textmodel.vocabulary import FIRST_WORD, START, UNKNOWN


class CompiledEngine:
    """Dense layers over a multi-hot vector or n-grams. Calls from several threads run at the same time.

    Args:
        folder: the version folder.

    Raises:
        UnsupportedError: the version is another kind of network.
        ModelError: a file is missing or malformed.
    """

    name = "compiled"

    def __init__(self, folder: VersionFolder) -> None:
        self.inline_bytes = 1 << (17 if isinstance(folder.metadata.vectorizer, MultiHot) else 16)
        self._classes = max(2, folder.metadata.network[-1].units)
        self._tokenization = folder.metadata.tokenization
        self._network = _network(folder)

    def classify(self, texts: Sequence[str]) -> Prediction:
        """Classifies texts."""
        count = len(texts)
        prediction = Prediction(
            np.empty((count, self._classes), np.float32), np.empty(count, np.int32), np.empty(count, np.int32)
        )
        self._network.classify(tuple(map(self._readable, texts)), *prediction)
        return prediction

    def capsule(self) -> object:
        """Returns the network for other native code, which classifies without Python: see native/network_api.h.

        With the `keras` tokenization, it accepts only texts that `readable` does not change; with `unicode`, any text.
        """
        return self._network.capsule()

    def _readable(self, text: str) -> str:
        return readable(text) if self._tokenization == "keras" else text

    def features(self, text: str) -> dict[int, int]:
        """Returns the distinct features of the text, each with its number of occurrences. A multi-hot network has word
        indices, with 1 each; a network over n-grams has features, or, for hashed n-grams, rows.
        """
        return self._network.features(self._readable(text))


def _network(folder: VersionFolder) -> Network:
    vectorizer, weights = folder.metadata.vectorizer, folder.weights
    if isinstance(vectorizer, HashedNGrams):
        assert weights.kept is not None
        assert weights.scale is not None
        assert weights.known_words is not None
        grams = vectorizer.characters
        hashed = (
            weights.kept,
            weights.scale,
            weights.known_words,
            vectorizer.buckets,
            vectorizer.words,
            grams.min if grams else 0,
            grams.max if grams else 0,
            bool(grams and grams.across_words),
            vectorizer.counts == "log",
            vectorizer.normalize,
        )
        return Network(table(), (), weights.layers, 0, 0, hashed=hashed, composition=composition())
    ngrams = None
    if isinstance(vectorizer, NGrams):
        assert weights.scale is not None
        ngrams = (weights.scale, vectorizer.orders, FIRST_WORD, vectorizer.counts == "log", vectorizer.normalize)
    entries = folder.vocabulary.entries
    if folder.metadata.tokenization == "unicode":
        composed = composition()
        return Network(unicode_characters(), entries, weights.layers, START, UNKNOWN, ngrams, composition=composed)
    return Network(characters(), entries, weights.layers, START, UNKNOWN, ngrams)


_CHARACTERS = 0x20000
"""Characters from here on have no case."""
_ASCII = 0x80

_NOT_ALONE = "Σİ"
"""The lower case of `Σ` depends on its neighbours; that of `İ` is two characters."""


def readable(text: str) -> str:
    """Returns the text in a form that the table of `characters` can read character by character."""
    if text.isascii() or not any(character in text for character in _NOT_ALONE):
        return text
    return lowercase(text)


@cache
def characters() -> NDArray[np.uint32]:
    """Returns the normalized form of each character in the `keras` tokenization, (0x20000,): its lower case, or the
    space if it separates words. Characters from 0x20000 on stay as they are.

    The entries have the layout of `textmodel.characters`, without classes.
    """
    characters = np.arange(_CHARACTERS, dtype="<u4")
    depend = [ord(character) for character in _NOT_ALONE]
    characters[0xD800:0xE000] = ord(STAND_IN)  # surrogates, which a text cannot contain
    characters[depend] = ord(STAND_IN)
    text = characters.tobytes().decode("utf-32-le")
    read_as = separate(text[:_ASCII]) + lowercase(text[_ASCII:])  # only ASCII characters separate words
    entries = np.frombuffer(read_as.encode("utf-32-le"), "<u4").astype(np.uint32)
    entries[depend] |= CONTEXT
    return entries


@cache
def unicode_characters() -> NDArray[np.uint32]:
    """Returns the normalized form of each character in the `unicode` tokenization, (0x110000,): its lower case, or the
    space if it separates words.
    """
    entries = table().copy()
    separates = entries >> CLASS_SHIFT & CLASS < WORD
    entries[separates] = entries[separates] & ~np.uint32(CODE | CLASS << CLASS_SHIFT) | ord(" ")
    return entries
