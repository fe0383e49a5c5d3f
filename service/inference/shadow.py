"""A shadow version classifies the requests of the version in service after their responses, to compare both versions.

Requests wait in a bounded queue: here, or in the transport if it answered without Python. A thread compares them, with
many texts in one engine call. It pauses under load: while the event loop lags, requests wait for the version in
service, or a thread of the transport is never idle. Requests that do not fit into the queue are dropped and counted. So
under load, the shadow's work is dropped first.
"""

import asyncio
import contextvars
import random
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from service.inference.servable import Answer, AnswerQueue, NewAnswerQueue, Servable
from service.telemetry.shadow_metrics import Agreement, ShadowMetrics

_log = structlog.get_logger()

BATCH_TEXTS = 1024
"""Maximum number of texts in one engine call of a shadow. A larger request is classified alone."""
QUEUE_TEXTS = 4096
"""Maximum number of texts that wait for a shadow."""
QUEUE_CHARACTERS = 1 << 23
"""Maximum total number of characters of these texts, or of bytes if they wait in the transport."""
PAUSE = 0.02
"""Seconds between two batches, in which responses are sent and requests queue up. A longer pause makes fewer and larger
batches. Each takes about 0.4 ms of CPU time in addition to the engine's.
"""
_LAG = 0.02
"""A delay of the event loop, in seconds, that indicates load."""


class Compared(NamedTuple):
    """n texts that both versions have classified."""

    texts: Sequence[str]
    request_ids: Sequence[str]
    agrees: NDArray[np.bool_]
    labels: Sequence[str]
    """The most probable label of each text by the version in service, whose probability follows."""
    probabilities: Sequence[float]
    shadow_labels: Sequence[str]
    shadow_probabilities: Sequence[float]
    dropped: int
    """Number of texts that the shadow has dropped since the last comparison."""


class Recorder(Protocol):
    """Keeps comparisons. It is called in the shadow's thread, and must return at once."""

    def record(self, name: str, version: int, shadow_version: int, compared: Compared) -> None:
        """Takes the comparisons of one batch."""


class _Answered(NamedTuple):
    texts: Sequence[str]
    characters: int
    winners: Sequence[int]
    winning: Sequence[float]
    request_id: str


class _Batch(NamedTuple):
    """Texts to compare, and the answer of the version in service to each."""

    texts: list[str]
    winners: list[int]
    winning: list[float]
    request_ids: list[str]


class Shadow:
    """Compares a version with the version in service. It belongs to the running event loop.

    Args:
        in_service: the version that answers.
        candidate: the shadow version, which is compared with it.
        share: the share of requests that are compared, 0 to 1.
        metrics: counts the comparisons.
        recorder: keeps texts on which the versions disagree; None: no texts are kept.
    """

    def __init__(
        self,
        in_service: Servable,
        candidate: Servable,
        share: float,
        metrics: ShadowMetrics,
        recorder: Recorder | None = None,
    ) -> None:
        self.in_service, self.candidate = in_service, candidate
        self._share, self._metrics, self._recorder = share, metrics, recorder
        numbers = {label: number for number, label in enumerate(in_service.labels)}
        # Labels are compared, not classes: the versions may have different labels, or the same in another order.
        self._class_of = np.array([numbers.get(label, -1) for label in candidate.labels])
        numbers = {label: number for number, label in enumerate(candidate.labels)}
        self._column_of = np.array([numbers.get(label, -1) for label in in_service.labels])
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()  # so that work does not run in the context of a request
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"shadow-{in_service.name}")
        self._queue: deque[_Answered] = deque()
        self._transport: AnswerQueue | None = None
        self._texts = self._characters = self._dropped = 0
        self._work: asyncio.Task[None] | None = None
        self._closing = self._failing = False

    def offer(self, texts: Sequence[str], answer: Answer, request_id: str) -> None:
        """Queues a request that the version in service has answered, if it is sampled and there is room."""
        if self._share < 1 and random.random() >= self._share:
            return
        characters = sum(map(len, texts))
        full = self._texts + len(texts) > QUEUE_TEXTS or self._characters + characters > QUEUE_CHARACTERS
        if full and self._queue:
            self._drop(len(texts))
            return
        self._queue.append(_Answered(texts, characters, answer.winners, answer.winning, request_id))
        self._texts += len(texts)
        self._characters += characters
        self._begin()

    def listen(self, new_queue: NewAnswerQueue) -> AnswerQueue:
        """Returns the queue for answers of the version in service that a transport gives without Python."""
        if not self._transport:
            self._transport = new_queue(self._share, QUEUE_TEXTS, QUEUE_CHARACTERS, self._begin)
        return self._transport

    def _drop(self, texts: int) -> None:
        self._dropped += texts
        self._metrics.dropped("overload", texts)

    def _begin(self) -> None:
        if self._work is None:
            self._work = self._loop.create_task(self._run(), context=self._context)

    async def _run(self) -> None:
        while self._has_work():
            due = self._loop.time() + PAUSE
            await asyncio.sleep(PAUSE)
            if self._closing or not self._is_under_load(due):
                dropped, self._dropped = self._dropped, 0
                await self._loop.run_in_executor(self._thread, self._compare_next, self._take(), dropped)
        self._work = None

    def _has_work(self) -> bool:
        """Counts the texts that the transport has dropped. Tells whether requests wait for a comparison."""
        if self._transport:
            self._drop(self._transport.take_dropped())
        return bool(self._queue) or not (self._transport is None or self._transport.is_empty())

    def _is_under_load(self, due: float) -> bool:
        """Tells whether the server is too busy for a comparison."""
        busy = self._transport is not None and not self._transport.threads_were_idle()
        return busy or self._loop.time() - due > _LAG or self.in_service.batcher.waiting

    def _take(self) -> _Batch:
        """Takes the next requests, in order, up to `BATCH_TEXTS` texts."""
        batch = _Batch([], [], [], [])
        while self._queue and (not batch.texts or len(batch.texts) + len(self._queue[0].texts) <= BATCH_TEXTS):
            answered = self._queue.popleft()
            self._characters -= answered.characters
            batch.texts.extend(answered.texts)
            batch.winners.extend(answered.winners)
            batch.winning.extend(answered.winning)
            batch.request_ids.extend([answered.request_id] * len(answered.texts))
        self._texts -= len(batch.texts)
        return batch

    def _compare_next(self, batch: _Batch, dropped: int) -> None:
        """Compares a batch, then a batch from the transport's queue."""
        if batch.texts:
            self._compare(batch, dropped)
            dropped = 0
        if self._transport and (batch := _Batch(*self._transport.take(BATCH_TEXTS))).texts:
            self._compare(batch, dropped)

    def _compare(self, batch: _Batch, dropped: int) -> None:
        try:
            self._compare_texts(batch, dropped)
        except Exception:  # the version in service has answered; only the comparison fails
            self._metrics.dropped("error", len(batch.texts))
            if not self._failing:
                _log.exception("shadow failed", model=self.candidate.name, version=self.candidate.version)
            self._failing = True
        else:
            self._failing = False

    def _compare_texts(self, batch: _Batch, dropped: int) -> None:
        probabilities = self.candidate.engine.classify(batch.texts).probabilities
        winners, winning = np.array(batch.winners), np.array(batch.winning)
        rows = np.arange(len(batch.texts))
        shadow_winners = probabilities.argmax(axis=1)
        columns = self._column_of[winners]
        agrees = self._class_of[shadow_winners] == winners
        differences = np.where(columns >= 0, probabilities[rows, columns], 0) - winning
        self._metrics.compared(winners, agrees, differences)
        if self._recorder:
            compared = Compared(
                batch.texts,
                batch.request_ids,
                agrees,
                [self.in_service.labels[winner] for winner in winners],
                batch.winning,
                [self.candidate.labels[winner] for winner in shadow_winners],
                probabilities[rows, shadow_winners].tolist(),
                dropped,
            )
            self._recorder.record(self.in_service.name, self.in_service.version, self.candidate.version, compared)

    def agreement(self) -> Agreement:
        """Returns how often the versions agree, over all workers."""
        return self._metrics.agreement()

    async def close(self) -> None:
        """Compares the waiting requests, then ends the thread and the metrics."""
        self._closing = True
        self._begin()  # the transport's event may not have come yet
        if self._work:
            await self._work
        self._transport = None  # later answers are not compared
        self._thread.shutdown()
        self._metrics.end()
