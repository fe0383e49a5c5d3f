"""The error for temporary files that cannot be written."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from textfiles.errors import InputError


@contextmanager
def temporary_space() -> Iterator[None]:
    """Turns the error of a temporary file, such as a full disk, into one that names the folder.

    Raises:
        InputError: the block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        folder = tempfile.gettempdir()
        raise InputError(
            f"cannot write temporary files to {folder}: {error.strerror}: name a folder with more space in TMPDIR"
        ) from error
