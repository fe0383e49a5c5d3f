"""A version that answers requests, and its answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from service.inference.batching import Batcher
from service.inference.explanations import Explanations
from service.telemetry.metrics import ModelMetrics
from textmodel import Engine
from textmodel.metadata import Metadata


class Answer(NamedTuple):
    """An engine's answer for n texts."""

    probabilities: NDArray[np.float32]
    """Probabilities of all classes, of shape (n, classes)."""
    winners: list[int]
    """Index of each text's most probable class."""
    winning: list[float]
    """Probability of that class."""
    words: list[int]
    known_words: list[int]


class AnswerQueue(Protocol):
    """Answers that a transport has given without Python. It is bounded, and drops answers that find no room."""

    def take(self, max_texts: int) -> tuple[list[str], list[int], list[float], list[str]]:
        """Takes the oldest answers, up to so many texts; an answer of more texts comes alone.

        Returns:
            The texts, and of each the most probable class, its probability, and the request's id.
        """

    def take_dropped(self) -> int:
        """Takes the number of texts that found no room."""

    def is_empty(self) -> bool:
        """Tells whether no answer waits. If so, the next one wakes the event loop."""

    def threads_were_idle(self) -> bool:
        """Tells whether each of the transport's threads has been idle at some time since the last call."""


NewAnswerQueue = Callable[[float, int, int, Callable[[], None]], AnswerQueue]
"""Makes a queue: the share of requests that it takes, how many texts and bytes may wait, what to call when some do."""


class AnswerListener(Protocol):
    """Gets the answers of a version in service."""

    def offer(self, texts: Sequence[str], answer: Answer, request_id: str) -> None:
        """Takes a request that the version in service has answered."""

    def listen(self, new_queue: NewAnswerQueue) -> AnswerQueue:
        """Returns the queue for answers of the version in service that a transport gives without Python."""


@dataclass
class ShadowSlot:
    """The shadow of a version in service, if it has one. For the event loop's thread only."""

    running: AnswerListener | None = None


@dataclass(frozen=True)
class Servable:
    """A version that answers requests."""

    name: str
    version: int
    labels: tuple[str, ...]
    metadata: Metadata
    engine: Engine
    batcher: Batcher
    metrics: ModelMetrics
    explanations: Explanations
    shadow: ShadowSlot = field(default_factory=ShadowSlot, compare=False)
    """Compares another version with this one, while this one is in service."""
