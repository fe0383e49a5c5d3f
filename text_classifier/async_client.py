"""The asyncio client."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Self

import grpc
import grpc.aio

from text_classifier import calls
from text_classifier.results import Classification, Model, ModelList
from text_classifier.targets import check_address, check_credentials, check_timeout
from text_classifier.v1 import text_classifier_pb2 as pb2
from text_classifier.v1 import text_classifier_pb2_grpc as pb2_grpc


class AsyncClient:
    """The asyncio version of `Client`, for one event loop. Arguments, errors and retries are the same."""

    def __init__(
        self,
        address: str = calls.DEFAULT_ADDRESS,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        token: str | None = None,
        timeout: float | None = calls.DEFAULT_TIMEOUT,
    ) -> None:
        check_credentials(credentials)
        check_address(address, encrypted=credentials is not None)
        self._timeout = check_timeout(timeout)
        self._metadata = calls.metadata(token, address, encrypted=credentials is not None)
        options = calls.channel_options(address)
        if credentials:
            self._channel = grpc.aio.secure_channel(address, credentials, options)
        else:
            self._channel = grpc.aio.insecure_channel(address, options)
        self._stub = pb2_grpc.TextClassifierStub(self._channel)

    async def classify(
        self,
        texts: Iterable[str],
        *,
        model: str,
        version: int = 0,
        top_k: int = 0,
        explain: bool = False,
        min_probability: float = 0,
        use_thresholds: bool = False,
        timeout: float | None = None,
    ) -> list[Classification]:
        """Classifies texts in one request; see `Client.classify`."""
        request = calls.classify_request(
            texts,
            model,
            version,
            top_k,
            explain=explain,
            min_probability=min_probability,
            use_thresholds=use_thresholds,
        )
        return calls.classifications(
            await self._stub.Classify(request, timeout=self._seconds(timeout), metadata=self._metadata)
        )

    def classify_stream(
        self,
        texts: Iterable[str] | AsyncIterable[str],
        *,
        model: str,
        version: int = 0,
        top_k: int = 0,
        explain: bool = False,
        min_probability: float = 0,
        use_thresholds: bool = False,
        timeout: float | None = None,
    ) -> AsyncGenerator[Classification, None]:
        """Classifies any number of texts, one at a time; see `Client.classify_stream`.

        To end the call early, leave the loop; if you keep the generator, call `aclose`.
        """
        check_timeout(timeout)
        calls.check_texts(texts)
        request = partial(
            calls.classify_request,
            model=model,
            version=version,
            top_k=top_k,
            explain=explain,
            min_probability=min_probability,
            use_thresholds=use_thresholds,
        )
        request([])  # wrong arguments are raised now, not at the first `next`
        return self._stream(texts, request, timeout)

    async def _stream(
        self,
        texts: Iterable[str] | AsyncIterable[str],
        request: Callable[..., pb2.ClassifyRequest],
        timeout: float | None,
    ) -> AsyncGenerator[Classification, None]:
        window = asyncio.Semaphore(calls.UNANSWERED_TEXTS)
        progress = calls.StreamProgress()
        failure: list[Exception] = []

        async def requests() -> AsyncIterator[pb2.ClassifyRequest]:
            try:
                async for text in _each(texts):
                    await window.acquire()
                    yield request([text], first=progress.sent)
                    progress.sent += 1
                progress.all_sent = True
            except Exception as error:  # gRPC would cancel the call without the cause
                failure.append(error)

        call = self._stub.ClassifyStream(requests(), timeout=timeout, metadata=self._metadata)
        try:
            async for response in call:
                window.release()
                progress.answered += 1
                for classification in calls.classifications(response):
                    yield classification
        except grpc.RpcError as error:
            if not progress.is_complete:
                progress.locate(error)
                raise
        finally:
            call.cancel()
        if failure:
            raise failure[0]

    async def models(self, *, timeout: float | None = None) -> ModelList:
        """Lists all model versions of the server, ordered by name and version."""
        response = await self._stub.ListModels(
            pb2.ListModelsRequest(), timeout=self._seconds(timeout), metadata=self._metadata
        )
        return calls.models(response)

    async def model(self, name: str, *, version: int = 0, timeout: float | None = None) -> Model:
        """Describes a model version; 0 is the version in service."""
        request = calls.model_request(name, version)
        return calls.model(await self._stub.GetModel(request, timeout=self._seconds(timeout), metadata=self._metadata))

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _seconds(self, timeout: float | None) -> float | None:
        return self._timeout if timeout is None else check_timeout(timeout)


async def _each(texts: Iterable[str] | AsyncIterable[str]) -> AsyncIterator[str]:
    if isinstance(texts, AsyncIterable):
        async for text in texts:
            yield text
    else:
        for text in texts:
            yield text
