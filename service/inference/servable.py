"""A version that answers requests, and its answers."""

from collections.abc import Sequence
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


class AnswerListener(Protocol):
    """Gets the answers of a version in service."""

    def offer(self, texts: Sequence[str], answer: Answer, request_id: str) -> None:
        """Takes a request that the version in service has answered."""


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
