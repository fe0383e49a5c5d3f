"""The interface of what turns texts into probabilities."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Prediction(NamedTuple):
    """What an engine says of n texts."""

    probabilities: NDArray[np.float32]
    """(n, classes), each row sums to 1."""
    words: NDArray[np.int32]
    """(n,), words in each text."""
    known_words: NDArray[np.int32]
    """(n,), how many of them the vocabulary holds."""

    def rows(self, rows: slice) -> "Prediction":
        """Returns the part that says of some of the texts."""
        return Prediction(self.probabilities[rows], self.words[rows], self.known_words[rows])


class Engine(Protocol):
    """Turns texts into probabilities. `classify` may be called from any thread, one call at a time."""

    name: str
    """What computes, e.g. "tensorflow": for logs and metrics."""
    inline_bytes: int
    """So many bytes of text take well under a millisecond: an event loop may classify them itself. 0: none."""

    def classify(self, texts: Sequence[str]) -> Prediction:
        """Classifies texts: any Unicode without surrogates, empty ones too; at least one."""
        ...
