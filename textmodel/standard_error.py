"""Hides what native code of libraries prints to standard error."""

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
"""All threads of the process share the descriptor: two threads that replace it could restore the wrong one."""


@contextmanager
def stderr_hidden() -> Iterator[None]:
    """Hides what libraries print while they start. They write to the file descriptor, before their log levels apply."""
    if sys.stderr is None:  # it is closed, and its descriptor may be that of another file
        yield
        return
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
