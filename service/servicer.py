"""The servicer: protobuf in, domain call, protobuf out. Errors leave as exceptions and are mapped elsewhere."""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidArgument
from service.repository import ModelRepository, Servable, Version
from text_classifier.v1 import text_classifier_pb2 as pb2
from text_classifier.v1 import text_classifier_pb2_grpc as pb2_grpc
from textmodel import Prediction

EXPLAINED_TEXTS = 64
"""Most texts in a request for explanations; the contract names it."""
EXPLAINED_BYTES = 1 << 20
"""Most bytes of UTF-8 that they have together; the contract names it."""

STREAM_WINDOW = 64
"""Requests of one stream that are worked on at a time: a client that does not read its answers has no more read."""


@dataclass(frozen=True)
class RequestLimits:
    """What one request may hold."""

    texts: int
    text_bytes: int


class TextClassifierServicer(pb2_grpc.TextClassifierServicer):
    """Implements `text_classifier.v1.TextClassifier`.

    Args:
        repository: where the models are.
        limits: what one request may hold.
    """

    def __init__(self, repository: ModelRepository, limits: RequestLimits) -> None:
        self._repository = repository
        self._limits = limits

    async def Classify(self, request: pb2.ClassifyRequest, context: Any) -> pb2.ClassifyResponse:
        """See the contract."""
        return await _respond(self._begin(request, _deadline(context)))

    async def ClassifyStream(
        self, requests: AsyncIterator[pb2.ClassifyRequest], context: Any
    ) -> AsyncIterator[pb2.ClassifyResponse]:
        """See the contract."""
        deadline = _deadline(context)
        async for request in requests:
            under_way = self._begin(request, deadline)
            if not under_way.prediction.done():
                async for response in self._read_ahead(under_way, requests, deadline):
                    yield response
                return
            yield await _respond(under_way)

    async def _read_ahead(
        self, first: "_UnderWay", requests: AsyncIterator[pb2.ClassifyRequest], deadline: float
    ) -> AsyncIterator[pb2.ClassifyResponse]:
        """Answers the rest of a stream whose engine takes its time: requests are read meanwhile, to share its calls."""
        room = asyncio.Semaphore(STREAM_WINDOW - 1)
        window: asyncio.Queue[_UnderWay | Exception | None] = asyncio.Queue()
        window.put_nowait(first)

        async def read() -> None:
            try:
                async for request in requests:
                    await room.acquire()
                    window.put_nowait(self._begin(request, deadline))
            except Exception as error:  # raised in its turn, after the answers to the requests before
                window.put_nowait(error)
            else:
                window.put_nowait(None)

        reader = asyncio.create_task(read())
        try:
            while under_way := await window.get():
                if isinstance(under_way, Exception):
                    raise under_way
                yield await _respond(under_way)
                room.release()
        finally:
            reader.cancel()
            while not window.empty():
                if isinstance(left := window.get_nowait(), _UnderWay):
                    left.prediction.cancel()

    async def ListModels(self, request: pb2.ListModelsRequest, context: Any) -> pb2.ListModelsResponse:
        """See the contract."""
        return pb2.ListModelsResponse(models=[self._describe(version) for version in self._repository.list()])

    async def GetModel(self, request: pb2.GetModelRequest, context: Any) -> pb2.Model:
        """See the contract."""
        return self._describe(self._repository.find(request.name, request.version))

    def _describe(self, version: Version) -> pb2.Model:
        model = pb2.Model(
            name=version.name,
            version=version.version,
            state=f"STATE_{version.state.name}",
            state_reason=version.reason,
            in_service=self._repository.in_service(version),
        )
        if version.servable:
            metadata = version.servable.metadata
            model.labels.extend(version.servable.labels)
            model.vocabulary_size = metadata.vectorizer.num_words
            model.trained_on = metadata.data_set.name
            model.test_accuracy = metadata.test_metrics.accuracy
            model.engine = version.servable.engine.name
        return model

    def _begin(self, request: pb2.ClassifyRequest, deadline: float) -> "_UnderWay":
        servable = self._repository.get(request.model, request.version)
        texts = list(request.texts)
        self._validate(texts, request.top_k)
        if request.explain:
            _validate_explained(texts)
        prediction = servable.batcher.classify(texts, request.ByteSize(), deadline)
        return _UnderWay(servable, prediction, request.top_k, texts if request.explain else None)

    def _validate(self, texts: list[str], top_k: int) -> None:
        if not texts:
            raise InvalidArgument("texts", "holds no text; send at least one")
        if len(texts) > self._limits.texts:
            raise InvalidArgument(
                "texts", f"holds {len(texts)} texts; at most {self._limits.texts} fit into a request: split it"
            )
        if top_k < 0:
            raise InvalidArgument("top_k", f"{top_k} is negative; 0 asks for the winner alone")
        most = self._limits.text_bytes
        for index, text in enumerate(texts):
            # A character takes 4 bytes at most: short texts need not be encoded to be measured.
            if 4 * len(text) > most and len(text.encode()) > most:
                raise InvalidArgument(f"texts[{index}]", f"has {len(text.encode())} bytes; at most {most} are allowed")


def _validate_explained(texts: list[str]) -> None:
    if len(texts) > EXPLAINED_TEXTS:
        raise InvalidArgument(
            "texts", f"holds {len(texts)} texts; at most {EXPLAINED_TEXTS} are explained in a request: split it"
        )
    size = sum(len(text.encode()) for text in texts)
    if size > EXPLAINED_BYTES:
        raise InvalidArgument("texts", f"has {size} bytes; at most {EXPLAINED_BYTES} are explained in a request")


def _deadline(context: Any) -> float:
    """Returns when the client stops waiting, in seconds of `perf_counter`: infinity if it waits for ever."""
    left = context.time_remaining()
    return math.inf if left is None else perf_counter() + left


class _UnderWay(NamedTuple):
    """A valid request whose texts the engine has or will get."""

    servable: Servable
    prediction: asyncio.Future[Prediction]
    top_k: int
    explained: list[str] | None
    """The texts, if their answers are to be explained."""


async def _respond(under_way: _UnderWay) -> pb2.ClassifyResponse:
    servable, prediction, top_k, explained = under_way
    answer = prediction.result() if prediction.done() else await prediction
    probabilities, words, known_words = answer.probabilities, answer.words.tolist(), answer.known_words.tolist()
    winners, winning = _winners(probabilities)
    servable.metrics.classified(winners, winning, words, known_words)
    labels = servable.labels
    response = pb2.ClassifyResponse(model=servable.name, version=servable.version)
    for row, (winner, probability, count, known) in enumerate(zip(winners, winning, words, known_words, strict=True)):
        classification = response.classifications.add(
            label=labels[winner], probability=probability, words=count, known_words=known
        )
        if top_k:
            # Stable: of equal probabilities the first class leads, here as in argmax.
            order = np.argsort(-probabilities[row], kind="stable")[:top_k]
            for scored, score in zip(order.tolist(), probabilities[row][order].tolist(), strict=True):
                classification.scores.add(label=labels[scored], probability=score)
    if explained:
        explanations = await servable.explanations.explain(explained, winners)
        for classification, explanation in zip(response.classifications, explanations, strict=True):
            classification.explanation.CopyFrom(explanation)
    return response


def _winners(probabilities: NDArray[np.float32]) -> tuple[list[int], list[float]]:
    """Returns the class of the highest probability of each row, (n, classes), and that probability."""
    if len(probabilities) == 1:  # NumPy's calls would take longer than the engine did
        row = probabilities[0].tolist()
        probability = max(row)
        return [row.index(probability)], [probability]
    winners = probabilities.argmax(axis=1)
    return winners.tolist(), probabilities[np.arange(len(winners)), winners].tolist()
