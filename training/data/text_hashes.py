"""Hashes that identify texts across files, runs and versions.

Texts that differ only in case, white space, punctuation, control characters or the form of their Unicode characters
have the same hash. So copies of a text stay on one side of a split, and a version records which texts it has learned.
"""

import hashlib
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textmodel import ModelError

FILE = "training_texts.npy"
"""In a version's `assets.extra/`: the hashes of its training texts, uint64 (texts,), sorted."""


def text_hash(text: str) -> int:
    """Returns the 64-bit hash of a text. Among a million texts, the chance of a collision is 1 in 37 million."""
    return int.from_bytes(hashlib.blake2b(canonical(text).encode(errors="replace"), digest_size=8).digest())


def canonical(text: str) -> str:
    """Returns the form of a text that is hashed: NFKC, case folded, with one space for each run of separators.

    A text that consists only of separators is kept, without white space around it.
    """
    # Folding can leave a form that is not normalized (Unicode Standard, section 5.18).
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.translate(_SEPARATORS).split()) or text.strip()


class _Separators(dict[int, str | int | None]):
    """A table for `str.translate`, filled as characters occur. Punctuation, separators and control characters become a
    space; invisible format characters, such as a byte order mark, vanish.
    """

    def __missing__(self, point: int) -> str | int | None:
        category = unicodedata.category(chr(point))
        if category == "Cf":
            self[point] = None
        else:
            self[point] = " " if category[0] in "PZ" or category == "Cc" else point
        return self[point]


_SEPARATORS = _Separators()


def write(path: Path, hashes: Iterable[int]) -> None:
    """Writes hashes, each once, sorted.

    Raises:
        OSError: the file cannot be written.
    """
    np.save(path, np.unique(np.fromiter(hashes, np.uint64)), allow_pickle=False)


def contained(hashes: NDArray[np.uint64], known: NDArray[np.uint64] | None) -> NDArray[np.bool_]:
    """Tells which hashes, (n,), are among the known ones, (texts,), which are sorted. None: no hash is known."""
    if known is None or not len(known):
        return np.zeros(len(hashes), np.bool_)
    found = np.searchsorted(known, hashes).clip(max=len(known) - 1)
    return np.asarray(known[found] == hashes)


def read(folder: Path) -> NDArray[np.uint64] | None:
    """Reads the hashes in a version's folder; None if the version does not record them.

    Raises:
        ModelError: the file cannot be read or is damaged.
    """
    path = folder / "assets.extra" / FILE
    if not path.exists():
        return None
    try:
        with path.open("rb") as file:  # `numpy.load` would also read other formats
            hashes: NDArray[np.uint64] = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: {error}") from error
    if hashes.dtype != np.uint64 or hashes.ndim != 1:
        raise ModelError(f"{path}: not hashes, uint64 (texts,)")
    return hashes
