"""The heartbeat of a worker: its event loop tells the supervisor that it runs.

Models load in a thread, while the event loop goes on. But the first import of a library may hold the GIL, for seconds
on a slow disk: `import tensorflow` held it for 1.0 s from the page cache. So a worker reports loads to the supervisor,
which then waits longer.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from service.process.child_pipe import ChildEnd

BEATS = 5
"""Number of heartbeats that a process sends in the heartbeat timeout."""


class Heartbeat:
    """Sends heartbeats from the running event loop.

    Args:
        supervisor: receives the heartbeats.
        timeout: seconds without a heartbeat after which the supervisor replaces this process; 0: never.
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
