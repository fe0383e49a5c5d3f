"""Sequences of word indices, and texts, each packed into one buffer to save memory."""

import mmap
from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray


class FlatSequences(Sequence[NDArray[np.int32]]):
    """Sequences packed into one array. A slice is a view, and so is a sequence.

    Args:
        flat: int32 (indices,), all sequences.
        ends: int64 (sequences,), where each sequence ends. Each begins where the one before it ends.
        rows: int64 (n,), the sequences that this object has, in this order. None: all.
    """

    def __init__(self, flat: NDArray[np.int32], ends: NDArray[np.int64], rows: NDArray[np.int64] | None = None) -> None:
        self._flat = flat
        self._ends = ends
        self._rows = np.arange(len(ends)) if rows is None else rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, at: int) -> NDArray[np.int32]: ...
    @overload
    def __getitem__(self, at: slice) -> "FlatSequences": ...
    def __getitem__(self, at: int | slice) -> "NDArray[np.int32] | FlatSequences":
        if isinstance(at, slice):
            return FlatSequences(self._flat, self._ends, self._rows[at])
        row = self._rows[at]
        return self._flat[self._ends[row - 1] if row else 0 : self._ends[row]]


class FlatTexts(Sequence[str]):
    """Texts packed into one buffer of UTF-8. A slice is a view.

    Args:
        flat: all texts.
        ends: int64 (texts,), where each text ends. Each begins where the one before it ends.
        rows: int64 (n,), the texts that this object has, in this order. None: all.
    """

    def __init__(self, flat: bytes | mmap.mmap, ends: NDArray[np.int64], rows: NDArray[np.int64] | None = None) -> None:
        self._flat = flat
        self._ends = ends
        self._rows = np.arange(len(ends)) if rows is None else rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> "FlatTexts": ...
    def __getitem__(self, at: int | slice) -> "str | FlatTexts":
        if isinstance(at, slice):
            return FlatTexts(self._flat, self._ends, self._rows[at])
        row = self._rows[at]
        return self._flat[self._ends[row - 1] if row else 0 : self._ends[row]].decode()
