"""Unknown words of new texts, and the meaning of their share."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from textmodel import hashed_ngrams

HIGH_RATIO = 0.2
"""From this share of unknown words, a run warns."""

_MEANING = (
    "unknown words: many words of new texts do not occur in the training texts, and the model decides by the others{}."
    " More training texts help"
)
_BY_CHARACTERS = ", and by n-grams of characters if it has them"
_CHARACTERS_HELP = ". In inflected languages and languages without spaces, --features characters helps too"


def meaning(*, words_alone: bool) -> str:
    """Returns what a high share of unknown words means, and what helps.

    Args:
        words_alone: whether the model has only n-grams of words, so that n-grams of characters may help.
    """
    return _MEANING.format("") + _CHARACTERS_HELP if words_alone else _MEANING.format(_BY_CHARACTERS)


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
