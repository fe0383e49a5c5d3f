"""The way of texts through the service, whatever protocol they come by: checked, classified, counted."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidArgument
from service.inference.repository import ModelRepository, Servable
from service.telemetry.call_observer import current
from textmodel import Prediction


@dataclass(frozen=True)
class RequestLimits:
    """What one request may hold."""

    texts: int
    text_bytes: int


class Answer(NamedTuple):
    """What the engine says of n texts."""

    probabilities: NDArray[np.float32]
    """Of all classes: (n, classes)."""
    winners: list[int]
    """The class of each text's highest probability."""
    winning: list[float]
    """That probability."""
    words: list[int]
    known_words: list[int]


class PendingClassification(NamedTuple):
    """A valid request whose texts the engine has or will get."""

    servable: Servable
    prediction: asyncio.Future[Prediction]
    texts: Sequence[str]

    async def answer(self) -> Answer:
        """Waits for the answer, and counts it."""
        prediction = self.prediction.result() if self.prediction.done() else await self.prediction
        winners, winning = _winners(prediction.probabilities)
        words, known_words = prediction.words.tolist(), prediction.known_words.tolist()
        self.servable.metrics.classified(winners, winning, words, known_words)
        answer = Answer(prediction.probabilities, winners, winning, words, known_words)
        if shadow := self.servable.shadow.running:
            observation = current()
            shadow.offer(self.texts, answer, observation.request_id if observation else "")
        return answer


class ClassificationService:
    """Gives requests to the engines.

    Args:
        repository: where the models are.
        limits: what one request may hold.
    """

    def __init__(self, repository: ModelRepository, limits: RequestLimits) -> None:
        self._repository = repository
        self._limits = limits

    def begin(
        self, model: str, version: int, texts: Sequence[str], *, size: int, deadline: float, field: str = "texts"
    ) -> PendingClassification:
        """Checks texts and queues them.

        Args:
            model: its name.
            version: its version; 0: the one in service.
            texts: what is to be classified.
            size: the bytes of the request that they came in.
            deadline: when the answer is of no use any more, in seconds of `perf_counter`.
            field: what the request calls its texts.

        Raises:
            RequestError: the request is none that can be answered.
        """
        servable = self._repository.get(model, version)
        observation = current()
        if observation:
            observation.asks(servable.name, servable.version, len(texts))
        self.check_count(len(texts), field)
        most = self._limits.text_bytes
        for index, text in enumerate(texts):
            # A character takes 4 bytes at most: short texts need not be encoded to be measured.
            if 4 * len(text) > most and len(text.encode()) > most:
                raise InvalidArgument(
                    f"{field}[{index}]", f"has {len(text.encode())} bytes; at most {most} are allowed"
                )
        return PendingClassification(servable, servable.batcher.classify(texts, size, deadline, observation), texts)

    def check_count(self, count: int, field: str) -> None:
        """Checks how many texts a request holds.

        Raises:
            InvalidArgument: none, or too many.
        """
        if count < 1:
            raise InvalidArgument(field, "holds no text; send at least one")
        if count > self._limits.texts:
            raise InvalidArgument(
                field, f"holds {count} texts; at most {self._limits.texts} fit into a request: split it"
            )


def deadline_of(context: Any) -> float:
    """Returns when a gRPC client stops waiting, in seconds of `perf_counter`: infinity if it waits for ever."""
    left = context.time_remaining()
    return math.inf if left is None else perf_counter() + left


def _winners(probabilities: NDArray[np.float32]) -> tuple[list[int], list[float]]:
    """Returns the class of the highest probability of each row, (n, classes), and that probability."""
    if len(probabilities) == 1:  # NumPy's calls would take longer than the engine did
        row = probabilities[0].tolist()
        probability = max(row)
        return [row.index(probability)], [probability]
    winners = probabilities.argmax(axis=1)
    return winners.tolist(), probabilities[np.arange(len(winners)), winners].tolist()
