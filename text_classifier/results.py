"""The results of calls, as named tuples."""

import enum
from collections.abc import Iterable
from typing import NamedTuple


class LabelScore(NamedTuple):
    """A label and its probability, 0 to 1."""

    label: str
    probability: float


class WordContribution(NamedTuple):
    """The contribution of a word to the logit of the label."""

    word: str
    """The word as the model reads it, in lower case."""
    start: int
    """`text[start:end]` is the word as it was written."""
    end: int
    known: bool
    """Whether the model knows the word."""
    contribution: float
    """Positive if the word supports the label, negative if it opposes it."""


class Explanation(NamedTuple):
    """The logit of the label as a sum of bias and contributions."""

    bias: float
    """The logit without the contributions of words."""
    words: tuple[WordContribution, ...]
    """All words of the text, in order."""


class Classification(NamedTuple):
    """The answer for one text."""

    label: str
    """The most probable label."""
    probability: float
    """Its probability, 0 to 1."""
    scores: tuple[LabelScore, ...]
    """The `top_k` most probable labels in descending order; empty if `top_k` is 0."""
    words: int
    """Number of words in the text."""
    known_words: int
    """Number of words in the text that the model knows."""
    model: str
    """The model that answered."""
    version: int
    """Its version."""
    explanation: Explanation | None = None
    """The explanation, if it was requested."""
    abstained: bool = False
    """Whether the probability is below `min_probability` or the label's threshold. Do not trust the label then."""


class State(enum.Enum):
    """The state of a model version: the contract's `Model.State`."""

    UNSPECIFIED = 0
    LOADING = 1
    AVAILABLE = 2
    FAILED = 3
    UNLOADING = 4


class Shadow(NamedTuple):
    """The comparison of a shadow version with the version in service; see the contract's `Shadow`."""

    texts: int
    """Number of texts that both versions have classified."""
    agreements: int
    """Number of these texts to which both versions give the same label."""


class Server(NamedTuple):
    """A server."""

    version: str
    """Version of its software."""
    transport: str
    """The gRPC transport: `native` or `grpcio`."""


class Model(NamedTuple):
    """One version of a model."""

    name: str
    version: int
    """The version. 0 stands for a model whose folder, pin or shadow file cannot be read."""
    state: State
    state_reason: str
    """The reason for the state; empty if there is none."""
    in_service: bool
    """Whether requests without a version use it."""
    labels: tuple[str, ...]
    vocabulary_size: int
    trained_on: str
    """The data set."""
    test_accuracy: float
    """Accuracy on the test set, 0 to 1."""
    engine: str
    """The engine that computes the answers."""
    shadow: Shadow | None = None
    """The comparison with the version in service, if this version is its shadow."""
    thresholds: tuple[float, ...] = ()
    """The probability from which each label is right with `target_precision`; empty without thresholds."""
    target_precision: float = 0


class ModelList(list[Model]):
    """The model versions of a server, ordered by name and version.

    Args:
        models: the versions.
        server: the server that has them; a server of version 0.1.0 leaves its fields empty.
    """

    def __init__(self, models: Iterable[Model], server: Server) -> None:
        super().__init__(models)
        self.server = server
