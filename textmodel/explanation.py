"""Explains a version's answer to a text: how much each word of the text contributes to a label's logit.

The logit of a linear model is a sum over the features of the text, so the contribution of each feature is exact. A
network with hidden relu layers is linear only near the text: the contribution of a feature is its component times the
gradient of the logit, which is exact to first order. In both cases, the contributions and a bias sum to the logit.

A feature's contribution is divided evenly between its occurrences in the text, and that of an n-gram between its words
or characters too. The contributions of characters are then summed over words, over runs of punctuation, and, in scripts
without spaces between words, over runs of characters that all speak for the label or all against it. A model with
n-grams of words alone cannot divide such a run: it is one word. An explanation never splits what a person sees as one
character.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textmodel import graphemes, hashed_ngrams, ngrams, unicode_text
from textmodel.characters import PUNCTUATION, SPACE, WORD
from textmodel.errors import UnsupportedError
from textmodel.hashed_ngrams import rows_of
from textmodel.metadata import HashedNGrams, MultiHot, NGrams, PaddedSequence
from textmodel.ngrams import weigh
from textmodel.version_folder import VersionFolder
from textmodel.vocabulary import UNKNOWN, Vocabulary
from textmodel.weights import Weights


class WordContribution(NamedTuple):
    """The contribution of one word of a text to the logit."""

    word: str
    """The word as the model reads it, extended to whole characters as a person sees them."""
    start: int
    """Where the word starts in the text, in code points. The word as it was written is `text[start:end]`."""
    end: int
    known: bool
    """Whether the model knows the word: it is in the vocabulary, or, for hashed n-grams, `hashed_ngrams.known_words`
    says so. Punctuation is known if an n-gram that ends in it is kept."""
    contribution: float


class Explanation(NamedTuple):
    """The logit of one label for one text: the bias plus all contributions."""

    bias: float
    """The logit minus the contributions of all words."""
    words: list[WordContribution]
    """Every word of the text, in order. If characters are features, runs of punctuation or of characters too."""


class _Text(ABC):
    """The features of one text."""

    ids: NDArray[np.integer]
    """(features,): the positions of the nonzero inputs of the first layer, in ascending order."""
    values: NDArray[np.float32]
    """(features,): the values of these inputs."""
    counts: NDArray[np.integer]
    """(features,): how often each feature occurs in the text."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def cuts(self) -> NDArray[np.bool_]:
        """(characters + 1,): whether the text may be cut at each position."""
        return graphemes.cuts(self.text)

    @abstractmethod
    def words(self, shares: NDArray[np.float64]) -> list[WordContribution]:
        """Returns the contribution of each word.

        Args:
            shares: (features,): the contribution of each feature at each of its occurrences.
        """


class _WordText(_Text):
    """A text as words of a vocabulary."""

    def __init__(self, vectorizer: MultiHot | NGrams, weights: Weights, vocabulary: Vocabulary, text: str) -> None:
        super().__init__(text)
        self._vocabulary = vocabulary
        self._indices = np.array(vocabulary.indices(text), np.int32)
        places = self._indices.astype(np.int64)
        if isinstance(vectorizer, MultiHot):
            self.ids, self.counts = np.unique(places, return_counts=True)
            self.values = np.ones(len(self.ids), np.float32)
            # START is a component like others, but not a word: its contribution belongs to the bias.
            self._windows = [(np.arange(1, len(places)), places[1:])]
        else:
            assert weights.scale is not None
            found = ngrams.features(vectorizer, [self._indices])
            self.ids, self.counts = found.ids, found.counts
            self.values = weigh(vectorizer, found, weights.scale)
            self._windows = list(ngrams.windows(vectorizer, places))

    def words(self, shares: NDArray[np.float64]) -> list[WordContribution]:
        contributions = np.zeros(len(self._indices))
        for order, (ends, ids) in enumerate(self._windows, 1):
            share = shares[np.searchsorted(self.ids, ids)] / order
            for before in range(order):
                contributions[ends - before] += share
        words, spans = self._vocabulary.tokenize(self.text), self._vocabulary.spans(self.text)
        known = (self._indices != UNKNOWN)[1:].tolist()
        return [
            WordContribution(word, *span, is_known, contribution)
            for word, span, is_known, contribution in zip(words, spans, known, contributions[1:].tolist(), strict=True)
        ]


class _HashedText(_Text):
    """A text as hashed n-grams."""

    def __init__(self, vectorizer: HashedNGrams, weights: Weights, text: str) -> None:
        assert weights.kept is not None
        assert weights.scale is not None
        assert weights.known_words is not None
        super().__init__(text)
        self._vectorizer, self._kept = vectorizer, weights.kept
        self._known_words = weights.known_words
        self._stream = unicode_text.read([text])
        found = rows_of(hashed_ngrams.features(vectorizer, [text]), weights.kept)
        self.ids, self.counts = found.ids, found.counts
        self.values = weigh(vectorizer, found, weights.scale)

    def words(self, shares: NDArray[np.float64]) -> list[WordContribution]:
        contributions, known = self._characters(shares)
        upto, known_upto = (np.concatenate([[0], np.cumsum(values)]) for values in (contributions, known))
        start, end = self._places
        position = self._stream.position
        return [
            WordContribution(
                self._stream.code[first:last].astype("<u4").tobytes().decode("utf-32-le"),
                int(start[position[first]]),
                int(end[position[last - 1]]),
                bool(known_upto[last] > known_upto[first]),
                float(upto[last] - upto[first]),
            )
            for first, last in self._items(contributions)
        ]

    @cached_property
    def _places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return unicode_text.places(self.text)

    def _characters(self, shares: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Returns the contribution of each character of the stream, and whether it shows that its word is known."""
        is_space = self._stream.kind == SPACE
        begins, ends = unicode_text.words(self._stream)
        contributions, known = np.zeros(len(is_space) + 1), self._of_known_words(begins, ends)
        if self._vectorizer.words:
            of_words = np.zeros(len(begins))
            for order, grams in enumerate(hashed_ngrams.word_ngrams(self._vectorizer, self._stream), 1):
                start, _, share = self._kept_ngrams(grams, shares)
                first = np.searchsorted(begins, start)
                for place in range(order):
                    np.add.at(of_words, first + place, share / order)
            evenly = of_words / (ends - begins)
            np.add.at(contributions, begins, evenly)
            np.add.at(contributions, ends, -evenly)
        if self._vectorizer.characters is not None:
            spaces = np.concatenate([[0], np.cumsum(is_space)])
            for grams in hashed_ngrams.character_ngrams(self._vectorizer, self._stream):
                start, end, share = self._kept_ngrams(grams, shares)
                evenly = share / (end - start - (spaces[end] - spaces[start]))
                np.add.at(contributions, start, evenly)
                np.add.at(contributions, end, -evenly)
                last = end - 1
                known[last[self._stream.kind[last] < WORD]] = True
        return np.where(is_space, 0, np.cumsum(contributions[:-1])), known

    def _of_known_words(self, begins: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tells whether each character of the stream belongs to a known word."""
        known = np.zeros(len(self._stream.kind), bool)
        words = hashed_ngrams.known_words(self._stream, self._known_words)
        known[self._stream.kind >= WORD] = np.repeat(words, ends - begins)
        return known

    def _kept_ngrams(
        self, grams: hashed_ngrams.StreamNGrams, shares: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Returns the start, the end and the share of each n-gram whose bucket is kept."""
        buckets = self._kept[self.ids]
        place = np.minimum(np.searchsorted(buckets, grams.bucket), max(len(buckets) - 1, 0))
        held = buckets[place] == grams.bucket if len(buckets) else np.zeros(len(place), bool)
        return grams.start[held], grams.end[held], shares[place[held]]

    def _items(self, contributions: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
        """Yields the start and the end, in the stream, of each word, run of punctuation or run of characters."""
        stream = self._stream
        begins, ends = unicode_text.words(stream)
        first = np.zeros(len(stream.kind) + 1, bool)
        first[begins] = True
        first[ends] = True
        part_of_item = stream.kind >= WORD
        if self._vectorizer.characters is not None:
            is_punctuation = stream.kind == PUNCTUATION
            part_of_item |= is_punctuation
            first[1:-1] |= is_punctuation[1:] & ~is_punctuation[:-1]
            within = unicode_text.is_unspaced(stream.code[1:]) & unicode_text.is_unspaced(stream.code[:-1])
            speaks_for = self._by_grapheme(contributions) > 0
            first[1:-1] |= within & (speaks_for[1:] != speaks_for[:-1])
        first[:-1] |= ~part_of_item
        edges = np.flatnonzero(first)
        for start, end in pairwise(edges.tolist()):
            if part_of_item[start]:
                yield start, end

    def _by_grapheme(self, contributions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns, for each character of the stream, the contribution of the whole grapheme that it is part of."""
        start, _ = self._places
        # The stream has a space before and after the text.
        place = np.concatenate([[-1], start, [len(self.text)]])[self._stream.position + 1]
        begins = np.concatenate([[True], (place[1:] != place[:-1]) & self.cuts[place[1:]]])
        number = np.cumsum(begins) - 1
        sums: NDArray[np.float64] = np.bincount(number, contributions)[number]
        return sums


def _whole_graphemes(found: _Text, words: list[WordContribution]) -> list[WordContribution]:
    """Returns the words, extended to where the text may be cut. Words that share a character as a person sees it, such
    as a flag, become one.
    """
    text, cuts = found.text, np.flatnonzero(found.cuts)
    spans = np.array([(word.start, word.end) for word in words], np.int64).reshape(-1, 2)
    starts = cuts[np.searchsorted(cuts, spans[:, 0], side="right") - 1].tolist()
    ends = cuts[np.searchsorted(cuts, spans[:, 1])].tolist()
    whole: list[WordContribution] = []
    read_to = 0  # where the last of the words ends that are part of the last whole one
    for word, start, end in zip(words, starts, ends, strict=True):
        if whole and start < whole[-1].end:
            one = whole.pop()
            read_as = one.word + text[read_to : word.start] + word.word
            known, contribution = one.known or word.known, one.contribution + word.contribution
            whole.append(WordContribution(read_as, one.start, max(one.end, end), known, contribution))
        else:
            _end_at_grapheme(text, whole, read_to)
            whole.append(word._replace(word=text[start : word.start] + word.word, start=start, end=end))
        read_to = word.end
    _end_at_grapheme(text, whole, read_to)
    return whole


def _end_at_grapheme(text: str, whole: list[WordContribution], read_to: int) -> None:
    """Adds to the last word the rest of the character that a person sees at its end."""
    if whole:
        whole[-1] = whole[-1]._replace(word=whole[-1].word + text[read_to : whole[-1].end])


class _Layer(NamedTuple):
    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]


class Explainer:
    """Explains linear models and dense relu networks over words or n-grams. It needs no TensorFlow.

    Args:
        folder: the version folder.

    Raises:
        UnsupportedError: the version is another kind of model.
        ModelError: a file is missing or malformed.
    """

    def __init__(self, folder: VersionFolder) -> None:
        if isinstance(folder.metadata.vectorizer, PaddedSequence):
            raise UnsupportedError("only models over words or n-grams can be explained; this one has an embedding")
        *hidden, end = folder.metadata.network
        if any(layer.activation != "relu" for layer in hidden):
            raise UnsupportedError("only networks with relu in their hidden layers can be explained")
        weights = folder.weights
        self._layers = [_Layer(layer.kernel, layer.bias) for layer in weights.layers]
        self._has_one_unit = end.units == 1
        vectorizer = folder.metadata.vectorizer
        if isinstance(vectorizer, HashedNGrams):
            self._read: Callable[[str], _Text] = partial(_HashedText, vectorizer, weights)
        else:
            assert isinstance(vectorizer, MultiHot | NGrams)
            self._read = partial(_WordText, vectorizer, weights, folder.vocabulary)

    def explain(self, text: str, label: int) -> Explanation:
        """Explains the logit of a label, given by its position among the version's labels."""
        found = self._read(text)
        logit, parts = self._parts(found.ids, found.values, label)
        words = _whole_graphemes(found, found.words(parts / found.counts))
        return Explanation(logit - sum(word.contribution for word in words), words)

    def _parts(
        self, ids: NDArray[np.integer], values: NDArray[np.float32], label: int
    ) -> tuple[float, NDArray[np.float64]]:
        """Returns the label's logit, and each feature's component times the logit's gradient, (features,)."""
        # With one unit, the logit of label 0 is the negative of that of label 1.
        unit, sign = (0, 1 if label else -1) if self._has_one_unit else (label, 1)
        first, *others = self._layers
        rows = first.kernel[ids].astype(np.float64)
        logits = values @ rows + first.bias
        active = []
        for layer in others:
            active.append(logits > 0)
            logits = np.maximum(logits, 0) @ layer.kernel + layer.bias
        gradient = np.zeros(len(logits))
        gradient[unit] = sign
        for layer, units in zip(reversed(others), reversed(active), strict=True):
            gradient = layer.kernel @ gradient * units
        return sign * float(logits[unit]), values * (rows @ gradient)
