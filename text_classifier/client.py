"""The synchronous client."""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import Self

import grpc

from text_classifier import calls
from text_classifier.results import Classification, Model
from text_classifier.v1 import text_classifier_pb2 as pb2
from text_classifier.v1 import text_classifier_pb2_grpc as pb2_grpc


class Client:
    """Calls a server. Safe to share between threads; a context manager, or `close` it.

    Every method raises `grpc.RpcError` when the server answers with an error or cannot be reached. A server that cannot
    be reached is tried again, up to five attempts within the timeout. Of several addresses behind a name
    (`dns:///classifier.example:50051`) each gets its turn.

    Args:
        address: host and port, or any gRPC target.
        credentials: `grpc.ssl_channel_credentials(...)` for TLS; without, the connection is not encrypted.
        token: the bearer token, for a server that wants one. Unencrypted it goes to this machine only.
        timeout: seconds that a call may take, unless it says otherwise.

    Raises:
        ValueError: the token cannot be sent, or would leave this machine unencrypted.
    """

    def __init__(
        self,
        address: str = calls.DEFAULT_ADDRESS,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        token: str | None = None,
        timeout: float = calls.DEFAULT_TIMEOUT,
    ) -> None:
        self._timeout = timeout
        self._metadata = calls.metadata(token, address, encrypted=credentials is not None)
        if credentials:
            self._channel = grpc.secure_channel(address, credentials, calls.CHANNEL_OPTIONS)
        else:
            self._channel = grpc.insecure_channel(address, calls.CHANNEL_OPTIONS)
        self._stub = pb2_grpc.TextClassifierStub(self._channel)

    def classify(
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
        """Classifies texts in one request.

        Args:
            texts: at least one; the server bounds how many, 1,024 by default.
            model: the model's name.
            version: its version; 0 for the one in service.
            top_k: how many scored labels to return with each text.
            explain: whether to say what each word adds to the label; then at most 64 texts in a request.
            min_probability: the probability below which an answer is marked as abstained.
            use_thresholds: whether to mark answers below the version's own threshold of their label.
            timeout: seconds, instead of the client's.

        Returns:
            One classification for each text, in order.
        """
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
            self._stub.Classify(request, timeout=self._seconds(timeout), metadata=self._metadata)
        )

    def classify_stream(
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
    ) -> Generator[Classification, None, None]:
        """Classifies any number of texts, one at a time: each answer comes as soon as it is there, in order.

        Texts are taken from the iterable in a thread of gRPC's, at most 1,024 ahead of their answers. An error that the
        iterable raises is raised here, after the answers to the texts before it. A consumer that stops early ends the
        call: by leaving its loop, or by `close` while it keeps the generator.

        Args:
            texts: any iterable, endless ones too.
            model: the model's name.
            version: its version; 0 for the one in service.
            top_k: how many scored labels to return with each text.
            explain: whether to say what each word adds to the label.
            min_probability: the probability below which an answer is marked as abstained.
            use_thresholds: whether to mark answers below the version's own threshold of their label.
            timeout: seconds for the whole stream; without, it may take as long as it takes.
        """
        calls.refuse_single_string(texts)  # now, not when the first answer is asked for
        request = partial(
            calls.classify_request,
            model=model,
            version=version,
            top_k=top_k,
            explain=explain,
            min_probability=min_probability,
            use_thresholds=use_thresholds,
        )
        return self._stream(texts, request, timeout)

    def _stream(
        self, texts: Iterable[str], request: Callable[[list[str]], pb2.ClassifyRequest], timeout: float | None
    ) -> Generator[Classification, None, None]:
        window = threading.Semaphore(calls.UNANSWERED_TEXTS)
        failure: list[Exception] = []

        def requests() -> Iterator[pb2.ClassifyRequest]:
            try:
                for text in texts:
                    window.acquire()
                    yield request([text])
            except Exception as error:  # gRPC would cancel the call and only say that the iterator failed
                failure.append(error)

        call = self._stub.ClassifyStream(requests(), timeout=timeout, metadata=self._metadata)
        try:
            for response in call:
                window.release()
                yield from calls.classifications(response)
        finally:
            call.cancel()
            window.release()  # gRPC's thread may wait for it: let it see that the call is over
        if failure:
            raise failure[0]

    def models(self, *, timeout: float | None = None) -> list[Model]:
        """Lists all model versions that the server knows, by name and version."""
        response = self._stub.ListModels(
            pb2.ListModelsRequest(), timeout=self._seconds(timeout), metadata=self._metadata
        )
        return [calls.model(message) for message in response.models]

    def model(self, name: str, *, version: int = 0, timeout: float | None = None) -> Model:
        """Describes one model version; 0 for the one in service."""
        request = pb2.GetModelRequest(name=name, version=version)
        return calls.model(self._stub.GetModel(request, timeout=self._seconds(timeout), metadata=self._metadata))

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _seconds(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else timeout
