"""The compiled engine, for networks over words or n-grams. It reads a version's variables and needs no TensorFlow."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from textmodel._native import Network
from textmodel.checkpoint import Checkpoint
from textmodel.engine import Prediction
from textmodel.errors import UnsupportedError
from textmodel.metadata import NGrams, PaddedSequence
from textmodel.tokenization import STAND_IN, lowercase, separate
from textmodel.version_folder import VersionFolder
from textmodel.vocabulary import FIRST_WORD, START, UNKNOWN


class CompiledEngine:
    """Dense layers over a multi-hot vector or n-grams. Calls from several threads run at the same time.

    Args:
        folder: the version folder. Its checkpoint names the layers `dense/0`, `dense/1` and so on, the output layer
            last, each with a `kernel` (inputs, units) and a `bias` (units,); for n-grams, `features/scale` (features,).

    Raises:
        UnsupportedError: the version is not such a network.
        ModelError: a file is missing or malformed.
    """

    name = "compiled"

    def __init__(self, folder: VersionFolder) -> None:
        vectorizer, network = folder.metadata.vectorizer, folder.metadata.network
        if isinstance(vectorizer, PaddedSequence):
            raise UnsupportedError(f"{folder.path}: not a model over words or n-grams, which this engine is for")
        end = network[-1]
        if end.activation not in (("sigmoid",) if end.units == 1 else ("softmax", "one-vs-rest")):
            raise UnsupportedError(
                f"{folder.path}: the network ends neither in softmax, one-vs-rest nor one sigmoid unit"
            )
        checkpoint = Checkpoint(folder.path / "variables" / "variables")
        if isinstance(vectorizer, NGrams):
            self.inline_bytes = 1 << 16
            features = vectorizer.features
            scale = checkpoint.read("features/scale", (features,))
            ngrams = (scale, vectorizer.orders, FIRST_WORD, vectorizer.counts == "log", vectorizer.normalize)
        else:
            self.inline_bytes = 1 << 17
            features = vectorizer.num_words
            ngrams = None
        widths = (features, *(layer.units for layer in network))
        layers = tuple(
            (
                checkpoint.read(f"dense/{number}/kernel", (widths[number], layer.units)),
                checkpoint.read(f"dense/{number}/bias", (layer.units,)),
                layer.activation,
            )
            for number, layer in enumerate(network)
        )
        self._classes = max(2, end.units)
        self._network = Network(characters(), folder.vocabulary.entries, layers, START, UNKNOWN, ngrams)

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
