"""The interface of an engine: texts in, probabilities out."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Prediction(NamedTuple):
    """An engine's answer for n texts."""

    probabilities: NDArray[np.float32]
    """(n, classes), each row sums to 1."""
    words: NDArray[np.int32]
    """(n,), words in each text."""
    known_words: NDArray[np.int32]
    """(n,), words that the model knows: the vocabulary holds them, or, of hashed n-grams,
    `hashed_ngrams.known_words` says so."""

    def rows(self, rows: slice) -> "Prediction":
        """Returns the answer for some of the texts."""
        return Prediction(self.probabilities[rows], self.words[rows], self.known_words[rows])


class Engine(Protocol):
    """Turns texts into probabilities. `classify` may be called from any thread, and from several at a time."""

    name: str
    """The name in logs and metrics, e.g. "tensorflow"."""
    inline_bytes: int
    """Maximum bytes of text that an event loop may classify itself, in well under a millisecond. 0: none."""

    def classify(self, texts: Sequence[str]) -> Prediction:
        """Classifies texts: any Unicode without surrogates, empty ones too; at least one."""
        ...
