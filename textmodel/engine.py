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
    """(n,), number of words in each text."""
    known_words: NDArray[np.int32]
    """(n,), number of words that the model knows: those in the vocabulary, or, for hashed n-grams, those of
    `hashed_ngrams.known_words`."""

    def rows(self, rows: slice) -> "Prediction":
        """Returns the answer for some of the texts."""
        return Prediction(self.probabilities[rows], self.words[rows], self.known_words[rows])


class Engine(Protocol):
    """Turns texts into probabilities. `classify` may be called from any thread, and from several at a time."""

    name: str
    """The name in logs and metrics, such as "tensorflow"."""
    inline_bytes: int
    """Maximum size of texts, in bytes, that an event loop may classify itself. They take well under a millisecond."""

    def classify(self, texts: Sequence[str]) -> Prediction:
        """Classifies at least one text. A text is any Unicode string without surrogates, and may be empty."""
        ...
