"""The compiled engine, for networks over words or n-grams. It needs no TensorFlow."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from textmodel._native import Network
from textmodel.engine import Prediction
from textmodel.metadata import NGrams
from textmodel.tokenization import STAND_IN, lowercase, separate
from textmodel.version_folder import VersionFolder
from textmodel.vocabulary import FIRST_WORD, START, UNKNOWN


class CompiledEngine:
    """Dense layers over a multi-hot vector or n-grams. Calls from several threads run at the same time.

    Args:
        folder: the version folder.

    Raises:
        UnsupportedError: the version is not such a network.
        ModelError: a file is missing or malformed.
    """

    name = "compiled"

    def __init__(self, folder: VersionFolder) -> None:
        vectorizer, weights = folder.metadata.vectorizer, folder.weights
        if isinstance(vectorizer, NGrams):
            self.inline_bytes = 1 << 16
            assert weights.scale is not None
            ngrams = (weights.scale, vectorizer.orders, FIRST_WORD, vectorizer.counts == "log", vectorizer.normalize)
        else:
            self.inline_bytes = 1 << 17
            ngrams = None
        self._classes = max(2, folder.metadata.network[-1].units)
        self._network = Network(characters(), folder.vocabulary.entries, weights.layers, START, UNKNOWN, ngrams)

    def classify(self, texts: Sequence[str]) -> Prediction:
        """Classifies texts."""
        count = len(texts)
        prediction = Prediction(
            np.empty((count, self._classes), np.float32), np.empty(count, np.int32), np.empty(count, np.int32)
        )
        self._network.classify(tuple(map(readable, texts)), *prediction)
        return prediction

    def capsule(self) -> object:
        """Returns what native code classifies with, without Python: see native/network_api.h. It takes texts for which
        `readable` changes nothing.
        """
        return self._network.capsule()

    def features(self, text: str) -> dict[int, int]:
        """Returns the distinct features of the text and how often it has each: the indices that a multi-hot vector has
        ones at, once each, or the n-grams.
        """
        return self._network.features(readable(text))


_CHARACTERS = 0x20000
"""Characters above have no case."""

_NOT_ALONE = "Σİ"
"""The lower case of the first depends on its neighbours; that of the second is two characters."""


def readable(text: str) -> str:
    """Returns a text that can be read character by character."""
    if text.isascii() or not any(character in text for character in _NOT_ALONE):
        return text
    return lowercase(text)


@cache
def characters() -> NDArray[np.uint32]:
    """What each character of a text is read as: lower case, or the space for one that separates words."""
    characters = np.arange(_CHARACTERS, dtype="<u4")
    characters[0xD800:0xE000] = ord(STAND_IN)  # surrogates, which a text cannot hold
    characters[[ord(character) for character in _NOT_ALONE]] = ord(STAND_IN)
    read_as = separate(characters.tobytes().decode("utf-32-le")).encode("utf-32-le")
    return np.frombuffer(read_as, "<u4").astype(np.uint32)
