"""Explains answers. A worker explains one request at a time. The first request of a version loads its explainer."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

import structlog

from service.errors import CannotExplain, Overloaded, reason_for_clients
from text_classifier.v1 import text_classifier_pb2 as pb2
from textmodel import ModelError, VersionFolder
from textmodel.errors import ChangedError
from textmodel.version_folder import Fingerprint, fingerprint

if TYPE_CHECKING:
    from textmodel.explanation import Explainer

_log = structlog.get_logger()

MAX_WAITING_REQUESTS = 64
"""Maximum number of explanation requests in progress per worker; further ones are refused."""

_T = TypeVar("_T")


class ExplanationQueue:
    """Runs a worker's explanation requests one after another in a thread, which starts with the first request.

    An explanation takes 100 times the memory of its text. A request that is cancelled while it waits, because its
    client has disconnected or its deadline has passed, is not run.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="explain")
        self._waiting = 0
        self._seconds_per_request = 0.0

    async def run(self, explain: Callable[[], _T]) -> _T:
        """Runs a function that explains a request, and returns its result.

        Raises:
            Overloaded: `MAX_WAITING_REQUESTS` are in progress.
        """
        if self._waiting == MAX_WAITING_REQUESTS:
            raise Overloaded("the queue of explanations", max(0.01, self._waiting * self._seconds_per_request))
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._timed, explain)
        finally:
            self._waiting -= 1

    def _timed(self, explain: Callable[[], _T]) -> _T:
        start = perf_counter()
        try:
            return explain()
        finally:
            self._seconds_per_request = perf_counter() - start


class Explanations:
    """Explains the answers of one version.

    It need not be closed: after a version is retired, only its requests in progress refer to it, and the last one frees
    the explainer.

    Args:
        queue: runs the requests.
        name: the model's name.
        version: the model's version.
        folder: the version folder.
        files: fingerprint of the files that the version's engine was loaded from.
    """

    def __init__(self, queue: ExplanationQueue, name: str, version: int, folder: Path, files: Fingerprint) -> None:
        self._queue = queue
        self._name = name
        self._version = version
        self._folder = folder
        self._files = files
        self._explainer: Explainer | None = None

    async def explain(self, texts: Sequence[str], labels: Sequence[int]) -> list[pb2.Explanation]:
        """Explains the logit of one label for each text.

        Raises:
            CannotExplain: the version does not support explanations, or its files have changed.
            Overloaded: `MAX_WAITING_REQUESTS` are in progress.
        """
        try:
            return await self._queue.run(partial(self._explain, texts, labels))
        except ModelError as error:
            resource = f"models/{self._name}/versions/{self._version}"
            raise CannotExplain(resource, reason_for_clients(error, self._folder)) from error

    def _explain(self, texts: Sequence[str], labels: Sequence[int]) -> list[pb2.Explanation]:
        # The messages are built here too, since those of long texts would block the event loop.
        if self._explainer is None:
            self._explainer = self._load()
        explained = []
        for text, label in zip(texts, labels, strict=True):
            explanation = self._explainer.explain(text, label)
            words = [pb2.WordContribution(**word._asdict()) for word in explanation.words]
            explained.append(pb2.Explanation(bias=explanation.bias, words=words))
        return explained

    def _load(self) -> "Explainer":
        from textmodel.explanation import Explainer  # noqa: PLC0415, most servers never explain

        try:
            explainer = Explainer(VersionFolder(self._folder))
        finally:
            if fingerprint(self._folder) != self._files:
                raise ChangedError("its files have changed since it was loaded")
        _log.info("explainer loaded", model=self._name, version=self._version)
        return explainer
