"""A real gRPC server of the contract that fails on purpose."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import grpc

from text_classifier.v1 import text_classifier_pb2 as pb2
from text_classifier.v1 import text_classifier_pb2_grpc as pb2_grpc


class FailingService(pb2_grpc.TextClassifierServicer):
    """Fails the next `failures` calls with `UNAVAILABLE`; `proceed` lets the others go on, `ended` tells their end.

    `time_remaining` is what the last call's deadline left it, in seconds. `stream_answers` is how many requests of a
    stream are answered before it is aborted, when it has been read to its end; None: all, and it is not aborted.
    """

    def __init__(self) -> None:
        self.failures = 0
        self.calls = 0
        self.time_remaining: float | None = None
        self.proceed = threading.Event()
        self.proceed.set()
        self.stream_answers: int | None = None
        self.ended = threading.Event()
        self.address = ""

    def Classify(self, request: pb2.ClassifyRequest, context: grpc.ServicerContext) -> pb2.ClassifyResponse:  # noqa: N802
        self._begin(context)
        self.proceed.wait(60)
        return _answer(request)

    def ClassifyStream(  # noqa: N802
        self, requests: Iterator[pb2.ClassifyRequest], context: grpc.ServicerContext
    ) -> Iterator[pb2.ClassifyResponse]:
        self._begin(context)
        yield from map(_answer, islice(requests, self.stream_answers))
        for _ in requests:
            pass
        if self.stream_answers is not None:
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "too late")

    def _begin(self, context: grpc.ServicerContext) -> None:
        self.calls += 1
        self.time_remaining = context.time_remaining()
        if self.failures:
            self.failures -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "come again")
        context.add_callback(self.ended.set)


def _answer(request: pb2.ClassifyRequest) -> pb2.ClassifyResponse:
    answers = [pb2.Classification(label="x" * 5_000, words=len(text.split())) for text in request.texts]
    return pb2.ClassifyResponse(model=request.model, version=1, classifications=answers)


def failing_service(credentials: grpc.ServerCredentials | None = None) -> Iterator[FailingService]:
    """Runs it; a generator for fixtures."""
    service = FailingService()
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool, options=[("grpc.max_receive_message_length", -1)])
        pb2_grpc.add_TextClassifierServicer_to_server(service, server)
        if credentials:
            port = server.add_secure_port("127.0.0.1:0", credentials)
        else:
            port = server.add_insecure_port("127.0.0.1:0")
        service.address = f"127.0.0.1:{port}"
        server.start()
        yield service
        service.proceed.set()
        server.stop(None).wait()
