"""Explains what a version says of a text: how much each of its words adds to a label's logit.

A linear model's logit is a sum over the features of the text, so that their parts are exact. A network with hidden relu
layers is linear only around the text: a feature's part is its component times the logit's gradient, exact to first
order. Either way the parts and a bias sum up to the logit.

A feature's part is shared evenly between the places where the text has it, an n-gram's between its words too.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textmodel.errors import UnsupportedError
from textmodel.metadata import MultiHot, NGrams
from textmodel.ngrams import features, weigh, windows
from textmodel.tokenization import spans, tokenize
from textmodel.version_folder import VersionFolder
from textmodel.vocabulary import UNKNOWN


class WordContribution(NamedTuple):
    """What one word of a text adds to the logit."""

    word: str
    """As the model reads it."""
    start: int
    """Where it starts in the text, in code points: the word as it was written is `text[start:end]`."""
    end: int
    known: bool
    """Whether the vocabulary holds it."""
    contribution: float


class Explanation(NamedTuple):
    """The logit of one label for one text: the bias plus all contributions."""

    bias: float
    """What is left of the logit without the words' contributions."""
    words: list[WordContribution]
    """Every word of the text, in order."""


class _Vector(NamedTuple):
    """What the dense layers take of one text."""

    ids: NDArray[np.integer]
    """(features,): the distinct features, rising."""
    values: NDArray[np.float32]
    """(features,): their components of the vector."""
    counts: NDArray[np.integer]
    """(features,): how often the text has each."""
    windows: Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]
    """For windows of 1, 2 and so on words: the last place of each, and its feature."""


class _Layer(NamedTuple):
    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]


class Explainer:
    """Explains linear models and dense relu networks over words or n-grams. Needs no TensorFlow.

    Args:
        folder: the version folder.

    Raises:
        UnsupportedError: the version is not such a model.
        ModelError: a file is missing or malformed.
    """

    def __init__(self, folder: VersionFolder) -> None:
        vectorizer = folder.metadata.vectorizer
        if not isinstance(vectorizer, MultiHot | NGrams):
            raise UnsupportedError("only models over words or n-grams can be explained; this one has an embedding")
        *hidden, end = folder.metadata.network
        if any(layer.activation != "relu" for layer in hidden):
            raise UnsupportedError("only networks with relu in their hidden layers can be explained")
        weights = folder.weights
        self._layers = [_Layer(layer.kernel, layer.bias) for layer in weights.layers]
        if end.units == 1:  # the other label's logit is the negative
            self._layers[-1] = _Layer(*(np.concatenate([-part, part], -1) for part in self._layers[-1]))
        self._scale = weights.scale
        self._vectorizer = vectorizer
        self._vocabulary = folder.vocabulary

    def explain(self, text: str, label: int) -> Explanation:
        """Explains the logit of a label, given as its place among the version's labels."""
        indices = np.array(self._vocabulary.indices(text), np.int32)
        vector = self._vectorize(indices)
        logit, parts = self._parts(vector, label)
        shares = parts / vector.counts
        contributions = np.zeros(len(indices))
        for order, (ends, ids) in enumerate(vector.windows, 1):
            share = shares[np.searchsorted(vector.ids, ids)] / order
            for before in range(order):
                contributions[ends - before] += share
        words = zip(tokenize(text), spans(text), indices[1:].tolist(), contributions[1:].tolist(), strict=True)
        return Explanation(
            logit - float(contributions.sum()),
            [
                WordContribution(word, *span, index != UNKNOWN, contribution)
                for word, span, index, contribution in words
            ],
        )

    def _vectorize(self, indices: NDArray[np.int32]) -> _Vector:
        places = indices.astype(np.int64)
        if self._scale is None:
            ids, counts = np.unique(places, return_counts=True)
            # START is a component like others, but no word: its part stays with the bias.
            words = [(np.arange(1, len(places)), places[1:])]
            return _Vector(ids, np.ones(len(ids), np.float32), counts, words)
        assert isinstance(self._vectorizer, NGrams)
        found = features(self._vectorizer, [indices])
        values = weigh(self._vectorizer, found, self._scale)
        return _Vector(found.ids, values, found.counts, windows(self._vectorizer, places))

    def _parts(self, vector: _Vector, label: int) -> tuple[float, NDArray[np.float64]]:
        """Returns the label's logit, and each feature's component times the logit's gradient, (features,)."""
        first, *others = self._layers
        rows = first.kernel[vector.ids].astype(np.float64)
        logits = vector.values @ rows + first.bias
        active = []
        for layer in others:
            active.append(logits > 0)
            logits = np.maximum(logits, 0) @ layer.kernel + layer.bias
        gradient = np.zeros(len(logits))
        gradient[label] = 1
        for layer, units in zip(reversed(others), reversed(active), strict=True):
            gradient = layer.kernel @ gradient * units
        return float(logits[label]), vector.values * (rows @ gradient)
