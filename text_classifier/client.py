"""The synchronous client."""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import Self

import grpc

from text_classifier import calls
from text_classifier.results import Classification, Model, ModelList
from text_classifier.targets import check_address, check_credentials, check_timeout
from text_classifier.v1 import text_classifier_pb2 as pb2
from text_classifier.v1 import text_classifier_pb2_grpc as pb2_grpc


class Client:
    """Calls a server. Threads may share a client. Use it as a context manager, or call `close`.

    Every method raises `grpc.RpcError` if the server returns an error or cannot be reached. The client retries an
    unreachable server, up to five attempts within the timeout. It uses the addresses behind a name
    (`dns:///classifier.example:50051`) round robin.

    Args:
        address: host and port, or any gRPC target. Without TLS the port is required.
        credentials: `grpc.ssl_channel_credentials(...)` for TLS; None: no encryption.
        token: bearer token. Without TLS, the client sends it only to this machine.
        timeout: default deadline of a call, in seconds; None: no deadline.

    Raises:
        TypeError: the address is no string, the timeout no number, or the credentials are not gRPC's.
        ValueError: the address or the timeout is wrong, or the token has invalid characters or would leave this
            machine unencrypted.
    """

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
            self._channel = grpc.secure_channel(address, credentials, options)
        else:
            self._channel = grpc.insecure_channel(address, options)
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
            texts: one or more; the server accepts up to 1,024 by default.
            model: the model's name.
            version: its version; 0 is the version in service.
            top_k: number of scored labels to return for each text.
            explain: whether to return the contribution of each word. A request may then have at most 64 texts, by
                default of 64 KiB together.
            min_probability: answers with a lower probability are marked as abstained.
            use_thresholds: whether to mark answers below the version's threshold for their label as abstained.
            timeout: deadline in seconds. None: the timeout of the client.

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
        """Classifies any number of texts in one call, and yields each answer as soon as it arrives, in order.

        A thread of gRPC takes texts from the iterable, at most 1,024 ahead of their answers. If the iterable raises an
        error, this generator first yields the answers to the earlier texts, then raises it. To end the call early,
        leave the loop; if you keep the generator, call `close`.

        Args:
            texts: any iterable, also an infinite one.
            model: the model's name.
            version: its version; 0 is the version in service.
            top_k: number of scored labels to return for each text.
            explain: whether to return the contribution of each word.
            min_probability: answers with a lower probability are marked as abstained.
            use_thresholds: whether to mark answers below the version's threshold for their label as abstained.
            timeout: deadline of the whole stream in seconds; None: no deadline.
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

    def _stream(
        self, texts: Iterable[str], request: Callable[..., pb2.ClassifyRequest], timeout: float | None
    ) -> Generator[Classification, None, None]:
        window = threading.Semaphore(calls.UNANSWERED_TEXTS)
        progress = calls.StreamProgress()
        failure: list[Exception] = []

        def requests() -> Iterator[pb2.ClassifyRequest]:
            try:
                for text in texts:
                    window.acquire()
                    yield request([text], first=progress.sent)
                    progress.sent += 1
                progress.all_sent = True
            except Exception as error:  # gRPC would cancel the call without the cause
                failure.append(error)

        call = self._stub.ClassifyStream(requests(), timeout=timeout, metadata=self._metadata)
        try:
            for response in call:
                window.release()
                progress.answered += 1
                yield from calls.classifications(response)
        except grpc.RpcError as error:
            if not progress.is_complete:
                progress.locate(error)
                raise
        finally:
            call.cancel()
            window.release()  # wakes gRPC's thread, which then sees the end of the call
        if failure:
            raise failure[0]

    def models(self, *, timeout: float | None = None) -> ModelList:
        """Lists all model versions of the server, ordered by name and version."""
        response = self._stub.ListModels(
            pb2.ListModelsRequest(), timeout=self._seconds(timeout), metadata=self._metadata
        )
        return calls.models(response)

    def model(self, name: str, *, version: int = 0, timeout: float | None = None) -> Model:
        """Describes a model version; 0 is the version in service."""
        request = calls.model_request(name, version)
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

    def _seconds(self, timeout: float | None) -> float | None:
        return self._timeout if timeout is None else check_timeout(timeout)
