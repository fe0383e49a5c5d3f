"""Chooses the texts to label next: those that a version is least sure of, or to which two versions give different
labels.

Uncertainty sampling by margin, and query by committee (Settles, "Active Learning Literature Survey", University of
Wisconsin-Madison, Computer Sciences Technical Report 1648, 2009).
"""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.pool import PoolText
from training.data.text_hashes import canonical, text_hash
from training.evaluation.version_evaluation import LoadedVersion, batches

By = Literal["margin", "disagreement"]

SIMILARITY = 0.7
"""From this Jaccard similarity of their n-grams, two texts are near-duplicates."""
_NGRAM = 3
"""Length of these n-grams, in characters rather than words: in scripts without spaces, a sentence is one word."""


class Candidate(NamedTuple):
    """A text of the pool, with the answers of the versions."""

    text: PoolText
    score: float
    """The texts with the lowest scores are labelled first."""
    labels: Sequence[str]
    """The label that each version gives."""
    probabilities: Sequence[float]
    """The probability of each of these labels."""


class Unlabelled:
    """Leaves out the texts of a pool that have a label already.

    Args:
        versions: texts that one of them has learned are left out, as far as the versions record them.
        labelled: further texts that have a label.
    """

    def __init__(self, versions: Sequence[LoadedVersion], labelled: Iterable[PoolText] = ()) -> None:
        self._versions = versions
        self._labelled = {text_hash(each.text) for each in labelled}
        self.texts = 0
        """Number of texts of the pool."""
        self.left_out = 0
        """Number of texts that were left out."""

    def of(self, texts: Iterable[PoolText]) -> Iterator[PoolText]:
        """Yields the texts without a label."""
        for batch in _batches(texts):
            hashes = [text_hash(each.text) for each in batch]
            known = np.array([each in self._labelled for each in hashes])
            for version in self._versions:
                known |= version.has_learned(np.array(hashes, np.uint64))
            self.texts += len(batch)
            self.left_out += int(known.sum())
            yield from (text for text, has_label in zip(batch, known, strict=True) if not has_label)


def by_margin(version: LoadedVersion, texts: Iterable[PoolText]) -> Iterator[Candidate]:
    """Scores texts by the difference between the two highest probabilities. Texts without a word are left out."""
    for batch in _batches(texts):
        prediction = version.engine.classify([each.text for each in batch])
        winners = prediction.probabilities.argmax(axis=1)
        for text, words, winner, probabilities, score in zip(
            batch, prediction.words, winners, prediction.probabilities, margins(prediction.probabilities), strict=True
        ):
            if words:
                yield Candidate(text, float(score), [version.labels[winner]], [float(probabilities[winner])])


def margins(probabilities: NDArray[np.floating]) -> NDArray[np.floating]:
    """Returns the difference between the two highest of each text's probabilities, (texts,).

    Args:
        probabilities: (texts, classes)
    """
    second, first = np.partition(probabilities, -2, axis=1)[:, -2:].T
    return np.asarray(first - second)


def by_disagreement(a: LoadedVersion, b: LoadedVersion, texts: Iterable[PoolText]) -> Iterator[Candidate]:
    """Scores the texts to which two versions give different labels: the surer both are, the lower the score. Texts
    without a word are left out.
    """
    for batch in _batches(texts):
        both = [_winners(version, batch) for version in (a, b)]
        for text, first, second in zip(batch, *both, strict=True):
            labels, probabilities, words = zip(first, second, strict=True)
            if labels[0] != labels[1] and any(words):
                yield Candidate(text, -min(probabilities), labels, probabilities)


def _winners(version: LoadedVersion, batch: Sequence[PoolText]) -> list[tuple[str, float, int]]:
    """Returns for each text its label, the label's probability and the number of words."""
    prediction = version.engine.classify([each.text for each in batch])
    winners, winning = prediction.probabilities.argmax(axis=1), prediction.probabilities.max(axis=1)
    labels = [version.labels[winner] for winner in winners]
    return list(zip(labels, winning.tolist(), prediction.words.tolist(), strict=True))


def _batches(texts: Iterable[PoolText]) -> Iterator[list[PoolText]]:
    return batches(texts, lambda each: len(each.text))


def choose(candidates: Iterable[Candidate], count: int) -> list[Candidate]:
    """Returns the `count` candidates with the lowest scores, or fewer, without near-duplicates."""
    chosen: list[Candidate] = []
    different = _DifferentTexts()
    for candidate in sorted(candidates, key=lambda each: each.score):
        if different.add(candidate.text.text):
            chosen.append(candidate)
        if len(chosen) == count:
            break
    return chosen


class _DifferentTexts:
    """Texts without near-duplicates: an inverted index of their n-grams finds the similar ones."""

    def __init__(self) -> None:
        self._sizes = array("q")
        self._holders: dict[str, array[int]] = defaultdict(lambda: array("q"))
        """For each n-gram, the numbers of the texts that contain it."""

    def add(self, text: str) -> bool:
        """Adds a text, unless it is a near-duplicate of another. Returns whether it was added."""
        ngrams = _ngrams(text)
        shared = self._shared(ngrams)
        if (shared >= SIMILARITY * (len(ngrams) + np.array(self._sizes) - shared)).any():
            return False
        for each in ngrams:
            self._holders[each].append(len(self._sizes))
        self._sizes.append(len(ngrams))
        return True

    def _shared(self, ngrams: set[str]) -> NDArray[np.int64]:
        """Returns how many of these n-grams each text contains, (texts,)."""
        holders = [np.frombuffer(self._holders[each], np.int64) for each in ngrams if each in self._holders]
        return np.bincount(np.concatenate([np.empty(0, np.int64), *holders]), minlength=len(self._sizes))


def _ngrams(text: str) -> set[str]:
    """Returns the n-grams of a text, ignoring case, punctuation and white space. A short text is a single n-gram."""
    characters = canonical(text)
    return {characters[at : at + _NGRAM] for at in range(max(1, len(characters) - _NGRAM + 1))}
