"""What the commands that read people's files share: errors of one line, and libraries that start without a word."""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """Reports wrong options in one line, and has `--version`. The first word of `prog` is the program."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.add_argument("--version", action="version", version=f"text-classifier {version('text-classifier')}")

    def error(self, message: str) -> NoReturn:
        """Ends the program with status 2."""
        self.exit(fail(self.prog.partition(" ")[0], 2, f"error: {message}: see {self.prog} --help"))


def fail(program: str, status: int, message: str) -> int:
    """Says on standard error why the program ends, and returns its exit status."""
    print(f"{program}: {' '.join(message.split())}", file=sys.stderr)  # one line, whatever a library's text holds
    return status


@contextmanager
def stderr_hidden() -> Iterator[None]:
    """Hides what libraries say while they start: they write past Python, before their own log levels count."""
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with tempfile.TemporaryFile() as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
