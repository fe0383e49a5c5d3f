"""The shipped clients calling servers again and again: the answers, and what the servers counted."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
from prometheus_client.parser import text_string_to_metric_families

from tests.server_process import ServerProcess
from text_classifier import AsyncClient, Classification, Client

CALLERS = 4
CALLS = 100
PAUSE = 0.01
"""Seconds between the calls of a caller: a server under test and a training run need the CPU, too."""


class Load:
    """What callers were answered."""

    def __init__(self) -> None:
        self.answers: list[Classification] = []
        self.failures: list[grpc.RpcError] = []
        self.ending = threading.Event()
        self._changed = threading.Condition()

    def answered(self, answer: Classification) -> None:
        """A call has been answered."""
        with self._changed:
            self.answers.append(answer)
            self._changed.notify_all()

    def failed(self, failure: grpc.RpcError) -> None:
        """A call has failed."""
        with self._changed:
            self.failures.append(failure)
            self._changed.notify_all()

    def go_on(self) -> None:
        """Waits until each caller's calls of now have ended and some more are answered, or one has failed."""
        with self._changed:
            enough = len(self.answers) + CALLS
            assert self._changed.wait_for(lambda: self.failures or len(self.answers) >= enough, timeout=120)
        assert self.failures == []


def threads(target: str, model: str, load: Load) -> None:
    def call(client: Client) -> None:
        while not load.ending.wait(PAUSE):
            try:
                (answer,) = client.classify(["film"], model=model, timeout=60)
                load.answered(answer)
            except grpc.RpcError as error:
                load.failed(error)

    with Client(target) as client:
        callers = [threading.Thread(target=call, args=(client,)) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()


def tasks(target: str, model: str, load: Load) -> None:
    async def call(client: AsyncClient) -> None:
        while not await asyncio.to_thread(load.ending.wait, PAUSE):
            try:
                (answer,) = await client.classify(["film"], model=model, timeout=60)
                load.answered(answer)
            except grpc.RpcError as error:
                load.failed(error)

    async def run() -> None:
        async with AsyncClient(target) as client:
            await asyncio.gather(*(call(client) for _ in range(CALLERS)))

    asyncio.run(run())


@contextmanager
def under_load(
    target: str, model: str = "topic", callers: Callable[[str, str, Load], None] = threads
) -> Iterator[Load]:
    """Calls a target around the block. No call may have failed at its end."""
    load = Load()
    runner = threading.Thread(target=callers, args=(target, model, load))
    runner.start()
    try:
        load.go_on()
        yield load
        load.go_on()
    finally:
        load.ending.set()
        runner.join()
    assert load.failures == []


def counters(server: ServerProcess) -> Counter[tuple[str, ...]]:
    """Reads the counters of /metrics: by name and label values."""
    read: Counter[tuple[str, ...]] = Counter()
    for family in text_string_to_metric_families(server.metrics()):
        for sample in family.samples:
            if family.type == "counter" and not sample.name.startswith("process_"):
                read[sample.name, *sample.labels.values()] = int(sample.value)
    return read


def texts(read: Counter[tuple[str, ...]]) -> int:
    return sum(value for (name, *_), value in read.items() if name == "text_classifier_texts_total")
