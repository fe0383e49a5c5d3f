"""Which texts to label next: those that a version is least sure of, or to which two versions give different labels.

Uncertainty sampling by margin, and query by committee (Settles, "Active Learning Literature Survey", University of
Wisconsin-Madison, Computer Sciences Technical Report 1648, 2009).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Literal, NamedTuple

import numpy as np

from training.data.pool import PoolText
from training.evaluation.version_evaluation import LoadedVersion

By = Literal["margin", "disagreement"]

SAME_WORDS = 0.8
"""The Jaccard similarity of the words of two texts from which they are near-duplicates."""
_BATCH_TEXTS = 256
_WORD = re.compile(r"\w+")


class Candidate(NamedTuple):
    """A text of the pool, and what the versions say of it."""

    text: PoolText
    score: float
    """The lower, the sooner it should be labelled."""
    labels: Sequence[str]
    """One of each version."""
    probabilities: Sequence[float]
    """Of these labels."""


def by_margin(version: LoadedVersion, texts: Iterable[PoolText]) -> Iterator[Candidate]:
    """Scores texts by the difference between the two highest probabilities."""
    for batch in _batches(texts):
        probabilities = version.engine.classify([each.text for each in batch]).probabilities
        highest = np.sort(np.partition(probabilities, -2, axis=1)[:, -2:], axis=1)
        winners = probabilities.argmax(axis=1)
        for text, winner, (second, first) in zip(batch, winners, highest.tolist(), strict=True):
            yield Candidate(text, first - second, [version.labels[winner]], [first])


def by_disagreement(a: LoadedVersion, b: LoadedVersion, texts: Iterable[PoolText]) -> Iterator[Candidate]:
    """Scores the texts to which two versions give different labels: the surer both are, the sooner."""
    for batch in _batches(texts):
        both = [_winners(version, batch) for version in (a, b)]
        for text, first, second in zip(batch, *both, strict=True):
            labels, probabilities = zip(first, second, strict=True)
            if labels[0] != labels[1]:
                yield Candidate(text, -min(probabilities), labels, probabilities)


def _winners(version: LoadedVersion, batch: Sequence[PoolText]) -> list[tuple[str, float]]:
    probabilities = version.engine.classify([each.text for each in batch]).probabilities
    winners, winning = probabilities.argmax(axis=1), probabilities.max(axis=1)
    return [(version.labels[winner], share) for winner, share in zip(winners, winning.tolist(), strict=True)]


def _batches(texts: Iterable[PoolText]) -> Iterator[list[PoolText]]:
    remaining = iter(texts)
    while batch := list(islice(remaining, _BATCH_TEXTS)):
        yield batch


def choose(candidates: Iterable[Candidate], count: int) -> list[Candidate]:
    """Returns so many candidates of the lowest scores, or fewer, without near-duplicates of one another."""
    chosen: list[Candidate] = []
    words: list[frozenset[str]] = []
    for candidate in sorted(candidates, key=lambda each: each.score):
        mine = frozenset(_WORD.findall(candidate.text.text.lower()))
        if not any(_similar(mine, other) for other in words):
            chosen.append(candidate)
            words.append(mine)
        if len(chosen) == count:
            break
    return chosen


def _similar(a: frozenset[str], b: frozenset[str]) -> bool:
    shared, together = len(a & b), len(a | b)
    return shared >= SAME_WORDS * together
