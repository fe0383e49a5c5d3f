"""Writes a file as a whole or not at all."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from textfiles import InputError


@contextmanager
def written_whole(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Yields a function that writes to a file under a temporary name. At the end of the block the file gets its own
    name, or, if the block failed, is removed.

    Raises:
        InputError: the file cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    with _named(path):
        if path.is_dir():
            raise IsADirectoryError(0, "Is a directory")
        file = part.open("wb")

    def write(content: bytes) -> None:
        with _named(path):
            file.write(content)

    try:
        yield write
        with _named(path):
            file.close()
            part.replace(path)
    finally:
        with suppress(OSError):  # what is still in the buffer may not fit on the disk
            file.close()
        with suppress(OSError):
            part.unlink()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
