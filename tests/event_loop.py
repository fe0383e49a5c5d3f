"""Tests that are coroutines."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any


def in_event_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs a test, with its fixtures, in an event loop."""
    return wraps(test)(lambda **fixtures: asyncio.run(test(**fixtures)))
