"""Unknown words of new texts: their share, and when it matters."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from textmodel import hashed_ngrams

HIGH_RATIO = 0.2
"""From this share of unknown words, a run says what it means."""
DRIFT = 0.1
"""From this difference between two shares, the texts differ from those that the model has learned."""

_WORDS_ALONE = (
    "the model has words alone: --preset ngram with --features both or characters adds n-grams of characters, which"
    " help where words have endings or no spaces between them; more training texts help too"
)
_OTHERS = "the model decides by the other words, and by n-grams of characters if it has them; more training texts help"


def meaning(*, words_alone: bool) -> str:
    """Returns what a high share of unknown words means, and what helps.

    Args:
        words_alone: whether the model has features of words alone.
    """
    return _WORDS_ALONE if words_alone else _OTHERS


def drifted(ratio: float, usual: float) -> bool:
    """Tells whether a share of unknown words is well above the usual share."""
    return ratio >= usual + DRIFT


def known_words(texts: Sequence[str], min_df: int, *, characters: bool) -> NDArray[np.uint8]:
    """Returns the words that a model of hashed n-grams knows after training, as the bits of `hashed_ngrams.word_bits`.

    Args:
        texts: the training texts.
        min_df: minimum number of texts in which a known word occurs.
        characters: whether the model has n-grams of characters.
    """
    parts = [np.empty(0, np.uint32)]
    for some in hashed_ngrams.blocks(texts):
        row, hashes = hashed_ngrams.known_hashes(some, characters=characters)
        # Each hash occurs once for each text. The cast drops the row.
        parts.append(np.unique(row << 32 | hashes).astype(np.uint32))
    known, frequency = np.unique(np.concatenate(parts), return_counts=True)
    return hashed_ngrams.word_bits(known[frequency >= min_df].astype(np.int64))


def unknown_ratio(texts: Sequence[str], known: NDArray[np.uint8]) -> float:
    """Returns the share of the texts' words that are not known; 0 if the texts have no words."""
    words = held = 0
    for some in hashed_ngrams.blocks(texts):
        counts = hashed_ngrams.count_words(some, known)
        words, held = words + int(counts.words.sum()), held + int(counts.known.sum())
    return 1 - held / words if words else 0.0
