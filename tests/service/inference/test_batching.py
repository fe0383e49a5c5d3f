"""Adaptive batching, with an engine that waits until it is told to go on."""

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest

from service.errors import DeadlineExceeded, Overloaded
from service.inference.batching import Batcher, QueueLimits
from service.telemetry.metrics import BATCH, DROPPED, QUEUE, ModelMetrics
from service.telemetry.shared_metrics import PAGE_BYTES, MetricsPage
from textmodel import Prediction

LIMITS = QueueLimits(batch_texts=8, queue_texts=100, queue_bytes=1000)


class GatedEngine:
    """Says for each text its length; every call waits at the gate. Notes the texts of each call."""

    name = "gated"
    inline_bytes = 0

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)
        self.calls: list[list[str]] = []

    def classify(self, texts: Sequence[str]) -> Prediction:
        self.calls.append(list(texts))
        self.entered.release()
        assert self.gate.acquire(timeout=60)
        if "fail" in texts:
            raise RuntimeError("engine failure")
        lengths = np.array([len(text) for text in texts], np.int32)
        return Prediction(np.ones((len(texts), 1), np.float32), lengths, lengths)


def with_batcher(
    test: Callable[[Batcher, GatedEngine], Coroutine[Any, Any, None]], limits: QueueLimits = LIMITS
) -> dict[str, float]:
    """Runs a test, and returns how many requests were dropped for which reason."""
    page = MetricsPage(bytearray(PAGE_BYTES))

    async def run() -> None:
        engine = GatedEngine()
        metrics = ModelMetrics(page, "m", 1, "gated", ["label"])
        batcher = Batcher("m", engine, limits, metrics)
        await test(batcher, engine)
        engine.gate.release(1000)
        await batcher.close()

    asyncio.run(run())
    return {
        series.labels[-1]: float(values[0])
        for series, values in page.read()
        if series.family == DROPPED.name and values[0]
    }


async def entered(engine: GatedEngine) -> None:
    assert await asyncio.to_thread(engine.entered.acquire, timeout=60)


def test_requests_that_come_while_the_engine_is_busy_share_its_next_call() -> None:
    async def test(batcher: Batcher, engine: GatedEngine) -> None:
        first = batcher.classify(["a"], 1)
        await entered(engine)
        waiting = [batcher.classify(["bb", "ccc"], 5), batcher.classify(["dddd"], 4)]
        engine.gate.release(2)
        answers = await asyncio.gather(first, *waiting)
        assert engine.calls == [["a"], ["bb", "ccc", "dddd"]]
        assert [answer.words.tolist() for answer in answers] == [[1], [2, 3], [4]]

    with_batcher(test)


def test_a_batch_ends_at_its_bound_and_a_larger_request_goes_alone() -> None:
    async def test(batcher: Batcher, engine: GatedEngine) -> None:
        futures = [batcher.classify(["x"], 1)]
        await entered(engine)
        futures += [batcher.classify(["y"] * count, count) for count in (5, 3, 1, 20, 1)]
        engine.gate.release(100)
        await asyncio.gather(*futures)
        assert [len(call) for call in engine.calls] == [1, 8, 1, 20, 1]

    with_batcher(test)


@pytest.mark.parametrize("limits", [QueueLimits(8, 3, 1000), QueueLimits(8, 100, 3)])
def test_a_full_queue_turns_requests_away_at_once_by_texts_and_by_bytes(limits: QueueLimits) -> None:
    async def test(batcher: Batcher, engine: GatedEngine) -> None:
        busy = batcher.classify(["x"], 1)
        await entered(engine)
        waiting = batcher.classify(["y", "y", "y"], 3)
        with pytest.raises(Overloaded) as turned_away:
            batcher.classify(["z"], 1)
        assert turned_away.value.retry_seconds > 0
        engine.gate.release(2)
        await asyncio.gather(busy, waiting)
        engine.gate.release()
        assert (await batcher.classify(["z"], 1)).words.tolist() == [1]

    assert with_batcher(test, limits) == {"overload": 1}


def test_who_is_turned_away_is_told_to_come_when_the_queue_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("service.inference.batching.perf_counter", lambda: now)

    async def test(batcher: Batcher, engine: GatedEngine) -> None:
        nonlocal now

        def refusal() -> Overloaded:
            with pytest.raises(Overloaded) as turned_away:
                batcher.classify(["z"], 1)
            return turned_away.value

        first = batcher.classify(["x"] * 4, 4)
        await entered(engine)
        second = batcher.classify(["y"] * 3, 3)
        assert refusal().retry_seconds == 0.01  # nothing is known of the engine's speed yet
        now = 2.0
        engine.gate.release()
        await first  # half a second a text
        await entered(engine)
        third = batcher.classify(["y"] * 3, 3)
        assert refusal().retry_seconds == 1.5
        assert str(refusal()) == "the queue of model 'm' is full, try again in 1.5 s"
        engine.gate.release(2)
        await asyncio.gather(second, third)

    assert with_batcher(test, QueueLimits(4, 3, 1000)) == {"overload": 3}


def test_a_request_larger_than_the_queue_is_answered_when_the_queue_is_empty() -> None:
    async def test(batcher: Batcher, engine: GatedEngine) -> None:
        engine.gate.release()
        assert len((await batcher.classify(["x"] * 5, 5)).words) == 5

    with_batcher(test, QueueLimits(8, 3, 3))


def test_a_request_whose_client_has_gone_is_dropped_before_the_engine_and_counted() -> None:
    async def test(batcher: Batcher, engine: GatedEngine) -> None:
        first = batcher.classify(["a"], 1)
        await entered(engine)
        gone, stays = batcher.classify(["gone"], 4), batcher.classify(["stays"], 5)
        gone.cancel()
        engine.gate.release(2)
        await asyncio.gather(first, stays)
        assert engine.calls == [["a"], ["stays"]]

    assert with_batcher(test) == {"cancelled": 1}


def test_a_request_whose_deadline_passes_while_it_waits_is_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("service.inference.batching.perf_counter", lambda: now)

    async def test(batcher: Batcher, engine: GatedEngine) -> None:
        nonlocal now
        first = batcher.classify(["a"], 1, deadline=1.0)
        await entered(engine)
        late, cancelled, stays = (batcher.classify([text], 1, at) for text, at in (("l", 2.0), ("c", 2.0), ("s", 3.0)))
        cancelled.cancel()  # as gRPC does when the deadline passes
        now = 2.0
        engine.gate.release(2)
        with pytest.raises(DeadlineExceeded):
            await late
        await asyncio.gather(first, stays)
        assert engine.calls == [["a"], ["s"]]

    assert with_batcher(test) == {"deadline": 2}


@pytest.mark.parametrize("inline_bytes", [0, 10])
def test_a_request_that_comes_after_its_deadline_is_dropped_and_counted(inline_bytes: int) -> None:
    async def test(batcher: Batcher, engine: GatedEngine) -> None:
        engine.inline_bytes = inline_bytes
        with pytest.raises(DeadlineExceeded):
            batcher.classify(["late"], 4, deadline=0.0)
        assert engine.calls == []

    assert with_batcher(test) == {"deadline": 1}


def test_a_failing_engine_fails_its_batch_and_goes_on_with_the_next() -> None:
    async def test(batcher: Batcher, engine: GatedEngine) -> None:
        failing = batcher.classify(["fail"], 4)
        await entered(engine)
        following = batcher.classify(["next"], 4)
        engine.gate.release(2)
        with pytest.raises(RuntimeError, match="engine failure"):
            await failing
        assert (await following).words.tolist() == [4]

    with_batcher(test)


def test_closing_answers_what_waits() -> None:
    async def test(batcher: Batcher, engine: GatedEngine) -> None:
        futures = [batcher.classify(["a"], 1), batcher.classify(["b"], 1)]
        engine.gate.release(2)
        await batcher.close()
        assert all(future.done() for future in futures)

    with_batcher(test)


def test_what_waits_is_answered_although_closing_is_cancelled() -> None:
    async def test(batcher: Batcher, engine: GatedEngine) -> None:
        waiting = batcher.classify(["a"], 1)
        await entered(engine)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)  # it waits now
        closing.cancel()  # as the stop of the server does
        with pytest.raises(asyncio.CancelledError):
            await closing
        engine.gate.release()
        async with asyncio.timeout(60):
            assert (await waiting).words.tolist() == [1]

    with_batcher(test)


def test_an_error_that_no_caller_reads_is_not_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("service.inference.batching.perf_counter", lambda: now)
    logged: list[dict[str, Any]] = []

    async def test(batcher: Batcher, engine: GatedEngine) -> None:
        nonlocal now
        asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
        answers = [batcher.classify(["fail"], 4)]
        await entered(engine)
        answers.append(batcher.classify(["late"], 4, deadline=1.0))
        now = 1.0
        engine.gate.release()
        await batcher.close()
        assert all(answer.done() for answer in answers)
        answers.clear()
        gc.collect()

    assert with_batcher(test) == {"deadline": 1}
    assert logged == []


def test_small_requests_are_answered_inline_and_larger_ones_in_the_thread() -> None:
    async def test(batcher: Batcher, engine: GatedEngine) -> None:
        engine.inline_bytes = 10
        engine.gate.release(2)
        assert batcher.classify(["small"], 10).done()
        large = batcher.classify(["large"], 11)
        assert not large.done()
        assert (await large).words.tolist() == [5]

    with_batcher(test)


def test_a_request_that_is_answered_inline_has_waited_for_nothing() -> None:
    page = MetricsPage(bytearray(PAGE_BYTES))

    async def run() -> None:
        engine = GatedEngine()
        engine.inline_bytes = 10
        engine.gate.release()
        batcher = Batcher("m", engine, LIMITS, ModelMetrics(page, "m", 1, "gated", ["label"]))
        batcher.classify(["a", "b", "c"], 3)
        await batcher.close()

    asyncio.run(run())
    counted = {series.family: values.tolist() for series, values in page.read()}
    assert (counted[QUEUE.name][0], counted[QUEUE.name][-1]) == (1, 0)
    assert counted[BATCH.name][-1] == 3
