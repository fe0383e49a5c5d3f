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
    """(n, classes)"""
    winners: list[int]
    """The most probable class of each text."""
    winning: list[float]
    """The probability of that class."""
    words: list[int]
    known_words: list[int]


class AnswerQueue(Protocol):
    """A queue of answers that a transport has given without Python. It is bounded, and drops answers when full."""

    def take(self, max_texts: int) -> tuple[list[str], list[int], list[float], list[str]]:
        """Takes the oldest answers, with at most `max_texts` texts. An answer with more texts is taken alone.

        Returns:
            The texts, and for each text its most probable class, the probability of that class, and the id of the
            request.
        """

    def take_dropped(self) -> int:
        """Returns the number of texts that were dropped since the last call."""

    def is_empty(self) -> bool:
        """Tells whether the queue is empty. If it is, the next answer wakes the event loop."""

    def threads_were_idle(self) -> bool:
        """Tells whether each thread of the transport has been idle at some time since the last call."""


NewAnswerQueue = Callable[[float, int, int, Callable[[], None]], AnswerQueue]
"""Makes a queue. Arguments: the share of requests to take, the maximum number of texts and of bytes in the queue, and a
function that is called when an answer is put into the empty queue."""


class AnswerListener(Protocol):
    """Receives the answers of a version in service."""

    def offer(self, texts: Sequence[str], answer: Answer, request_id: str) -> None:
        """Receives a request that the version in service has answered."""

    def listen(self, new_queue: NewAnswerQueue) -> AnswerQueue:
        """Returns the queue for answers of the version in service that a transport gives without Python."""


@dataclass
class ShadowSlot:
    """The shadow of a version in service, if it has one. Only the event loop's thread may use it."""

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
