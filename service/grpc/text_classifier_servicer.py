"""Implements the `TextClassifier` service. Errors are raised as exceptions, which `service.grpc.status` maps."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from importlib.metadata import version as installed_version
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from service.errors import InvalidArgument
from service.inference.abstention import abstention_thresholds
from service.inference.classification import ClassificationService, PendingClassification, deadline_of
from service.inference.repository import ModelRepository, ModelVersion
from service.inference.servable import Answer, Servable
from service.telemetry.call_observer import current
from text_classifier.v1 import text_classifier_pb2 as pb2
from text_classifier.v1 import text_classifier_pb2_grpc as pb2_grpc

STREAM_WINDOW = 64
"""Maximum number of requests of a stream that are in progress. More are read as the client reads its responses."""


class TextClassifierServicer(pb2_grpc.TextClassifierServicer):
    """Implements `text_classifier.v1.TextClassifier`.

    Args:
        repository: the repository of the models.
        classification: validates and queues requests.
        transport: the name of the gRPC transport.
    """

    def __init__(self, repository: ModelRepository, classification: ClassificationService, transport: str) -> None:
        self._repository = repository
        self._classification = classification
        self._server = pb2.Server(version=installed_version("text-classifier"), transport=transport)

    async def Classify(self, request: pb2.ClassifyRequest, context: Any) -> pb2.ClassifyResponse:
        """Classifies the texts of one request."""
        return await _respond(self._begin(request, deadline_of(context)))

    async def ClassifyStream(
        self, requests: AsyncIterator[pb2.ClassifyRequest], context: Any
    ) -> AsyncIterator[pb2.ClassifyResponse]:
        """Yields a response for each request of the stream, in their order."""
        deadline = deadline_of(context)
        async for request in requests:
            begun = self._begin(request, deadline)
            if not begun.pending.prediction.done():
                async for response in self._read_ahead(begun, requests, deadline):
                    yield response
                return
            yield await _respond(begun)

    async def _read_ahead(
        self, first: "_Request", requests: AsyncIterator[pb2.ClassifyRequest], deadline: float
    ) -> AsyncIterator[pb2.ClassifyResponse]:
        """Answers the rest of a stream. Reads further requests while the engine runs, so that they share its calls."""
        room = asyncio.Semaphore(STREAM_WINDOW - 1)
        window: asyncio.Queue[_Request | Exception | None] = asyncio.Queue()
        window.put_nowait(first)

        async def read() -> None:
            try:
                async for request in requests:
                    await room.acquire()
                    window.put_nowait(self._begin(request, deadline))
            except Exception as error:  # raised in order, after the answers to the earlier requests
                window.put_nowait(error)
            else:
                window.put_nowait(None)

        reader = asyncio.create_task(read())
        try:
            while begun := await window.get():
                if isinstance(begun, Exception):
                    raise begun
                yield await _respond(begun)
                room.release()
        finally:
            reader.cancel()
            while not window.empty():
                if isinstance(left := window.get_nowait(), _Request):
                    left.pending.prediction.cancel()

    async def ListModels(self, request: pb2.ListModelsRequest, context: Any) -> pb2.ListModelsResponse:
        """Lists the model versions that the server knows."""
        models = [self._describe(version) for version in self._repository.list()]
        return pb2.ListModelsResponse(models=models, server=self._server)

    async def GetModel(self, request: pb2.GetModelRequest, context: Any) -> pb2.Model:
        """Describes one model version."""
        return self._describe(self._repository.find(request.name, request.version, "name"))

    def _describe(self, version: ModelVersion) -> pb2.Model:
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
            if metadata.abstention:
                model.target_precision = metadata.abstention.target_precision
                model.thresholds.extend(metadata.abstention.thresholds)
            if shadow := self._repository.shadow(version):
                texts, agreements = shadow.agreement()
                model.shadow.CopyFrom(pb2.Shadow(texts=texts, agreements=agreements))
        return model

    def _begin(self, request: pb2.ClassifyRequest, deadline: float) -> "_Request":
        texts = list(request.texts)
        if request.top_k < 0:
            raise InvalidArgument("top_k", f"{request.top_k} is negative; send 0 for the winning label only")
        if request.explain:
            self._classification.check_explained(texts)
        thresholds = abstention_thresholds(
            self._repository, request.model, request.version, request.min_probability, request.use_thresholds
        )
        pending = self._classification.begin(
            request.model, request.version, texts, size=request.ByteSize(), deadline=deadline
        )
        return _Request(pending, request.top_k, thresholds, texts if request.explain else None)


class _Request(NamedTuple):
    """A request in progress."""

    pending: PendingClassification
    top_k: int
    thresholds: Sequence[float] | None
    """For each label, the probability below which an answer is marked as abstained. None: no answer is marked."""
    explained: list[str] | None
    """The texts, if the request asks for explanations."""


async def _respond(request: _Request) -> pb2.ClassifyResponse:
    """Waits for the engine's answer and builds the response."""
    servable = request.pending.servable
    answer = await request.pending.answer()
    response = pb2.ClassifyResponse(model=servable.name, version=servable.version)
    _add_classifications(response, answer, servable.labels, request)
    if request.explained:
        await _add_explanations(response, servable, request.explained, answer.winners)
    return response


def _add_classifications(
    response: pb2.ClassifyResponse, answer: Answer, labels: Sequence[str], request: _Request
) -> None:
    top_k, thresholds = request.top_k, request.thresholds
    for probabilities, winner, probability, words, known_words in zip(*answer, strict=True):
        classification = response.classifications.add(
            label=labels[winner], probability=probability, words=words, known_words=known_words
        )
        if thresholds and probability < thresholds[winner]:
            classification.abstained = True
        if top_k:
            # A stable sort: of equal probabilities, the first class comes first, as in argmax.
            order = np.argsort(-probabilities, kind="stable")[:top_k]
            for scored, score in zip(order.tolist(), probabilities[order].tolist(), strict=True):
                classification.scores.add(label=labels[scored], probability=score)


async def _add_explanations(
    response: pb2.ClassifyResponse, servable: Servable, texts: Sequence[str], winners: Sequence[int]
) -> None:
    start = perf_counter()
    explanations = await servable.explanations.explain(texts, winners)
    if observation := current():
        observation.passed("explain", start, perf_counter())
    for classification, explanation in zip(response.classifications, explanations, strict=True):
        classification.explanation.CopyFrom(explanation)
