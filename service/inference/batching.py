"""Adaptive batching: an idle engine takes a request at once; requests that arrive while it is busy form the next batch.

There is no timer, so an idle server never waits. The queue is bounded in texts and bytes. Requests whose client has
disconnected or whose deadline has passed are dropped before inference.
"""

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter

from service.errors import DeadlineExceeded, Overloaded
from service.telemetry.call_observer import Observation
from service.telemetry.metrics import ModelMetrics
from textmodel import Engine, Prediction


@dataclass(frozen=True)
class QueueLimits:
    """Maximum number of texts in one engine call, and of texts and bytes in the queue."""

    batch_texts: int
    queue_texts: int
    queue_bytes: int


@dataclass(frozen=True)
class _Waiting:
    texts: Sequence[str]
    size: int
    since: float
    deadline: float
    answer: asyncio.Future[Prediction]
    observation: Observation | None


class Batcher:
    """Batches requests for an engine, on the running event loop.

    The engine runs in a thread of its own, one call at a time. Small requests run inline, on the event loop.

    Args:
        name: the model, for error messages.
        engine: classifies the texts.
        limits: the queue's bounds.
        metrics: records waiting and inference.
    """

    def __init__(self, name: str, engine: Engine, limits: QueueLimits, metrics: ModelMetrics) -> None:
        self._name = name
        self._engine = engine
        self._limits = limits
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"engine-{name}")
        self._queue: deque[_Waiting] = deque()
        self._texts = 0
        self._bytes = 0
        self._seconds_per_text = 0.0
        self._work: asyncio.Task[None] | None = None

    def classify(
        self, texts: Sequence[str], size: int, deadline: float = math.inf, observation: Observation | None = None
    ) -> asyncio.Future[Prediction]:
        """Queues texts and returns the future of their prediction. Cancel it to drop the request.

        Args:
            texts: at least one text.
            size: the size of the texts in bytes.
            deadline: the client's deadline, in seconds of `perf_counter`.
            observation: records the wait and the inference.

        Raises:
            DeadlineExceeded: the deadline has passed. The future raises it if that happens while the request waits.
            Overloaded: the queue is full.
        """
        if deadline <= perf_counter():
            self._metrics.dropped("deadline")
            raise DeadlineExceeded
        if size <= self._engine.inline_bytes:
            return self._classify_inline(texts, observation)
        limits = self._limits
        full = self._texts + len(texts) > limits.queue_texts or self._bytes + size > limits.queue_bytes
        if full and self._queue:  # an empty queue accepts even a request that exceeds the limits
            self._metrics.dropped("overload")
            raise Overloaded(f"the queue of model {self._name!r}", max(0.01, self._texts * self._seconds_per_text))
        waiting = _Waiting(texts, size, perf_counter(), deadline, self._loop.create_future(), observation)
        self._queue.append(waiting)
        self._texts += len(texts)
        self._bytes += size
        if self._work is None:
            self._work = self._loop.create_task(self._run())
        return waiting.answer

    def _classify_inline(self, texts: Sequence[str], observation: Observation | None) -> asyncio.Future[Prediction]:
        """Classifies on the event loop, if a thread switch would cost more than the work."""
        start = perf_counter()
        prediction = self._engine.classify(texts)
        end = perf_counter()
        self._metrics.queued(0.0)
        self._metrics.inferred(len(texts), end - start)
        if observation:
            observation.ran(start, start, end)
        answer: asyncio.Future[Prediction] = self._loop.create_future()
        answer.set_result(prediction)
        return answer

    @property
    def waiting(self) -> bool:
        """Whether requests wait for the engine."""
        return bool(self._queue)

    async def _run(self) -> None:
        while batch := self._take():
            await self._answer(batch)
        self._work = None

    def _take(self) -> list[_Waiting]:
        """Takes the next batch from the queue, in order. A request larger than a batch goes alone."""
        batch: list[_Waiting] = []
        taken = 0
        while self._queue and (not batch or taken + len(self._queue[0].texts) <= self._limits.batch_texts):
            waiting = self._queue.popleft()
            self._texts -= len(waiting.texts)
            self._bytes -= waiting.size
            if not self._drop(waiting):
                batch.append(waiting)
                taken += len(waiting.texts)
        return batch

    def _drop(self, waiting: _Waiting) -> bool:
        """Drops a request if its deadline has passed or its client has disconnected. Returns whether it did."""
        late, gone = waiting.deadline <= perf_counter(), waiting.answer.cancelled()
        if not (late or gone):
            return False
        _fail(waiting, DeadlineExceeded())
        self._metrics.dropped("deadline" if late else "cancelled")  # gRPC also cancels a call whose deadline has passed
        return True

    async def _answer(self, batch: list[_Waiting]) -> None:
        texts = [text for waiting in batch for text in waiting.texts]
        start = perf_counter()
        for waiting in batch:
            self._metrics.queued(start - waiting.since)
        try:
            prediction = await self._loop.run_in_executor(self._thread, self._engine.classify, texts)
        except Exception as error:  # the callers get any error of the engine, and the queue continues
            for waiting in batch:
                _fail(waiting, error)
            return
        end = perf_counter()
        self._metrics.inferred(len(texts), end - start)
        self._seconds_per_text = (end - start) / len(texts)
        start_row = 0
        for waiting in batch:
            rows = slice(start_row, start_row + len(waiting.texts))
            start_row = rows.stop
            if waiting.observation:
                waiting.observation.ran(waiting.since, start, end)
            if not waiting.answer.cancelled():
                waiting.answer.set_result(prediction.rows(rows))

    async def close(self) -> None:
        """Answers the requests that wait, even if this is cancelled, then ends the thread."""
        if self._work:
            await asyncio.shield(self._work)
        self._thread.shutdown()


def _fail(waiting: _Waiting, error: Exception) -> None:
    """Passes an error to the caller. If the caller has gone, asyncio does not log it: it may quote a text."""
    if not waiting.answer.cancelled():
        waiting.answer.set_exception(error)
        waiting.answer.exception()  # counts as read
