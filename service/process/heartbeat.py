"""The heartbeat of a worker: its event loop tells the supervisor that it runs.

Models load in a thread, so the loop continues meanwhile. But the first import of a library may hold Python's
interpreter lock, for seconds from a slow disk: `import tensorflow` held it for 1.0 s from the page cache. So a worker
reports loads to the supervisor, which then waits longer.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from service.process.child_pipe import ChildEnd

BEATS = 5
"""Heartbeats in the time after which a process that sends none is replaced."""


class Heartbeat:
    """Sends heartbeats from the running event loop.

    Args:
        supervisor: receives them.
        timeout: seconds without one after which the supervisor replaces this process; 0: it never does.
    """

    def __init__(self, supervisor: ChildEnd, timeout: float) -> None:
        self._supervisor = supervisor
        self._interval = timeout / BEATS
        self._loads = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sends heartbeats during the block."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()

    async def _run(self) -> None:
        while self._interval:
            self._beat()
            await asyncio.sleep(self._interval)

    def _beat(self) -> None:
        self._supervisor.beat(loading=self._loads > 0)

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Tells the supervisor that a model is being loaded during the block."""
        self._loads += 1
        self._beat()
        try:
            yield
        finally:
            self._loads -= 1
            self._beat()
