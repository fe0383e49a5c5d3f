"""Writes a file as a whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from textfiles import InputError


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file for writing under a temporary name. At the end of the block the file gets its own name, or, if the
    block failed, is removed.

    Raises:
        InputError: the file cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
