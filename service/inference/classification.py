"""Classifies the texts of one request, for all protocols: validates, queues, and records metrics."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidArgument
from service.inference.repository import ModelRepository
from service.inference.servable import Answer, Servable
from service.telemetry.call_observer import current
from textmodel import Prediction

MAX_EXPLAINED_TEXTS = 64
"""Maximum number of texts in a request for explanations. The contract states it."""


@dataclass(frozen=True)
class RequestLimits:
    """Limits of one request."""

    texts: int
    """Maximum number of texts."""
    text_bytes: int
    """Maximum size of one text in UTF-8."""
    explained_bytes: int
    """Maximum total size of the texts of a request for explanations in UTF-8."""


class PendingClassification(NamedTuple):
    """A valid request that waits for the engine, or that the engine classifies."""

    servable: Servable
    prediction: asyncio.Future[Prediction]
    texts: Sequence[str]

    async def answer(self) -> Answer:
        """Waits for the answer, and records it in the metrics."""
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
    """Validates requests and queues them for their model's engine.

    Args:
        repository: the repository of the models.
        limits: limits of one request.
    """

    def __init__(self, repository: ModelRepository, limits: RequestLimits) -> None:
        self._repository = repository
        self._limits = limits

    def begin(
        self,
        model: str,
        version: int,
        texts: Sequence[str],
        *,
        size: int,
        deadline: float,
        field: str = "texts",
        model_field: str = "model",
    ) -> PendingClassification:
        """Validates texts and queues them.

        Args:
            model: name of the model.
            version: version of the model; 0: the version in service.
            texts: the texts to classify.
            size: size of the request in bytes.
            deadline: when the client stops waiting, in seconds of `perf_counter`.
            field: name of the field that holds the texts, for errors.
            model_field: name of the field that holds the model's name, for errors.

        Raises:
            RequestError: the request is invalid or cannot be served.
        """
        servable = self._repository.get(model, version, model_field)
        observation = current()
        if observation:
            observation.asks(servable.name, servable.version, len(texts))
        self.check_count(len(texts), field)
        limit = self._limits.text_bytes
        for index, text in enumerate(texts):
            # A character has at most 4 bytes, so a short text need not be encoded to be measured.
            if 4 * len(text) > limit and len(text.encode()) > limit:
                raise InvalidArgument(
                    f"{field}[{index}]", f"has {len(text.encode())} bytes; at most {limit} are allowed"
                )
        return PendingClassification(servable, servable.batcher.classify(texts, size, deadline, observation), texts)

    def check_count(self, count: int, field: str) -> None:
        """Validates the number of texts in a request.

        Raises:
            InvalidArgument: there is no text, or there are too many.
        """
        if count < 1:
            raise InvalidArgument(field, "holds no text; send at least one")
        if count > self._limits.texts:
            raise InvalidArgument(
                field, f"holds {count} texts; at most {self._limits.texts} fit into a request: split it"
            )

    def check_explained(self, texts: Sequence[str]) -> None:
        """Validates the texts of a request for explanations, which take far more time and memory than answers.

        Raises:
            InvalidArgument: there are too many texts, or their total size is too large.
        """
        if len(texts) > MAX_EXPLAINED_TEXTS:
            raise InvalidArgument(
                "texts", f"holds {len(texts)} texts; at most {MAX_EXPLAINED_TEXTS} are explained in a request: split it"
            )
        size, limit = sum(len(text.encode()) for text in texts), self._limits.explained_bytes
        if size > limit:
            raise InvalidArgument(
                "texts",
                f"has {size} bytes; at most {limit} are explained in a request (the server's --max-explain-bytes):"
                " send less, or omit explain",
            )


def deadline_of(context: Any) -> float:
    """Returns when the client of a call stops waiting, in seconds of `perf_counter`; infinity without a deadline."""
    left = context.time_remaining()
    return math.inf if left is None else perf_counter() + left


def _winners(probabilities: NDArray[np.float32]) -> tuple[list[int], list[float]]:
    """Returns the most probable class of each row of (n, classes), and its probability."""
    if len(probabilities) == 1:  # NumPy's calls would take longer than the engine
        row = probabilities[0].tolist()
        probability = max(row)
        return [row.index(probability)], [probability]
    winners = probabilities.argmax(axis=1)
    return winners.tolist(), probabilities[np.arange(len(winners)), winners].tolist()
