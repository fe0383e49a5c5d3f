"""Hides what libraries print past Python to standard error."""

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
"""The descriptor belongs to the process: two threads that exchange it would end with the wrong one."""


@contextmanager
def stderr_hidden() -> Iterator[None]:
    """Hides what libraries print while they start: they write past Python, before their own log levels apply."""
    with _lock:
        sys.stderr.flush()
        stderr = os.dup(2)
        try:
            with tempfile.TemporaryFile() as nowhere:
                os.dup2(nowhere.fileno(), 2)
                yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
