"""What calls return: plain values, free of protobuf."""

import enum
from typing import NamedTuple


class LabelScore(NamedTuple):
    """A label and its probability, 0 to 1."""

    label: str
    probability: float


class WordContribution(NamedTuple):
    """What one word of a text adds to the label's logit."""

    word: str
    """As the model reads it: in lower case."""
    start: int
    """Where it starts: `text[start:end]` is the word as it was written."""
    end: int
    known: bool
    """Whether the model's vocabulary holds it."""
    contribution: float
    """Positive speaks for the label, negative against it."""


class Explanation(NamedTuple):
    """The label's logit, split among the words: the sum of bias and contributions. See the contract's `Explanation`."""

    bias: float
    """What is left of the logit without the words' contributions."""
    words: tuple[WordContribution, ...]
    """Every word of the text, in order."""


class Classification(NamedTuple):
    """What a model says of one text."""

    label: str
    """The label of the highest probability."""
    probability: float
    """Its probability, 0 to 1."""
    scores: tuple[LabelScore, ...]
    """The `top_k` labels, the highest probability first; empty when `top_k` is 0."""
    words: int
    """Words in the text."""
    known_words: int
    """How many of them the model's vocabulary holds."""
    model: str
    """The model that answered."""
    version: int
    """Its version."""
    explanation: Explanation | None = None
    """What each word adds to the label, if it was asked for."""
    abstained: bool = False
    """Whether the probability is below what was asked for: do not trust the label."""


class State(enum.Enum):
    """Where a model version stands in its life; see the contract's `Model.State`."""

    UNSPECIFIED = 0
    LOADING = 1
    AVAILABLE = 2
    FAILED = 3
    UNLOADING = 4


class Shadow(NamedTuple):
    """What a shadow version has been compared on with the version in service; see the contract's `Shadow`."""

    texts: int
    """Number of texts that both versions have classified."""
    agreements: int
    """On how many of them both give the same label."""


class Model(NamedTuple):
    """One version of a model."""

    name: str
    version: int
    state: State
    state_reason: str
    """Why it is in this state, when there is something to say."""
    in_service: bool
    """Whether requests without a version come to it."""
    labels: tuple[str, ...]
    vocabulary_size: int
    trained_on: str
    """The data set."""
    test_accuracy: float
    """Share of the test set that it labels correctly, 0 to 1."""
    engine: str
    """What computes the answers."""
    shadow: Shadow | None = None
    """How it compares with the version in service, while it is its shadow."""
    thresholds: tuple[float, ...] = ()
    """The probability from which each label is right with `target_precision`; empty without thresholds."""
    target_precision: float = 0
