"""The servicer without gRPC: what a stream does with requests that are ready, answers that nobody reads, and an end."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import numpy as np

from service.grpc.text_classifier_servicer import STREAM_WINDOW, TextClassifierServicer
from service.inference.classification import ClassificationService, RequestLimits
from service.inference.servable import Servable
from text_classifier.v1 import text_classifier_pb2 as pb2
from textmodel import Prediction


class Context:
    """An RPC without a deadline."""

    def time_remaining(self) -> None:
        return None


class PendingBatcher:
    """Answers no request until it is told to."""

    def __init__(self) -> None:
        self.futures: list[asyncio.Future[Prediction]] = []

    def classify(self, texts: list[str], size: int, deadline: float, observation: None) -> asyncio.Future[Prediction]:
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]


class Metrics:
    def classified(self, *_: Any) -> None:
        pass


class Repository:
    """Has one model for every name."""

    def __init__(self, batcher: PendingBatcher) -> None:
        unused = cast("Any", None)
        self._servable = Servable(
            "m", 1, ("label",), unused, unused, cast("Any", batcher), cast("Any", Metrics()), unused
        )

    def get(self, name: str, version: int, field: str = "model") -> Servable:
        return self._servable


async def many() -> AsyncIterator[pb2.ClassifyRequest]:
    for _ in range(10 * STREAM_WINDOW):
        yield pb2.ClassifyRequest(model="m", texts=["text"])


async def settle() -> None:
    """Lets every task go as far as it can: nothing here waits for the world outside."""
    for _ in range(20 * STREAM_WINDOW):
        await asyncio.sleep(0)


def stream(batcher: PendingBatcher) -> AsyncIterator[pb2.ClassifyResponse]:
    repository = cast("Any", Repository(batcher))
    classification = ClassificationService(repository, RequestLimits(10, 1000, 1000))
    return TextClassifierServicer(repository, classification, "grpcio").ClassifyStream(many(), Context())


ANSWER = Prediction(np.ones((1, 1), np.float32), np.ones(1, np.int32), np.ones(1, np.int32))


def test_a_stream_whose_answers_are_not_read_is_read_no_further_than_its_window() -> None:
    async def test() -> None:
        batcher = PendingBatcher()
        responses = stream(batcher)
        first = asyncio.ensure_future(anext(responses))
        await settle()
        assert len(batcher.futures) == STREAM_WINDOW
        for future in batcher.futures:
            future.set_result(ANSWER)
        await first
        await settle()  # all are answered, but no second answer is taken
        assert len(batcher.futures) == STREAM_WINDOW
        await anext(responses)
        await settle()
        assert len(batcher.futures) == STREAM_WINDOW + 1
        await cast("Any", responses).aclose()

    asyncio.run(test())


def test_a_stream_that_ends_early_leaves_no_request_waiting_for_the_engine() -> None:
    async def test() -> None:
        batcher = PendingBatcher()
        first = asyncio.ensure_future(anext(stream(batcher)))
        await settle()
        first.cancel()
        await settle()
        assert len(batcher.futures) == STREAM_WINDOW
        assert all(future.cancelled() for future in batcher.futures)

    asyncio.run(test())
