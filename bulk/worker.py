"""What runs in a worker: one engine, loaded once, and a file after another."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from bulk.encoding import encoded
from bulk.inputs import Columns, Job
from bulk.reading import Part, parts, reasons
from bulk.results import Chunk, table
from textfiles import InputError
from textmodel import VersionFolder, load_engine


class Classifier:
    """Turns files into the chunks of their outputs, one at a time in memory.

    Args:
        version: the version folder.
        jobs: all of them.
        columns: of the texts and of the answers.

    Raises:
        ModelError: the version cannot be loaded.
    """

    def __init__(self, version: Path, jobs: Sequence[Job], columns: Columns) -> None:
        self._engine = load_engine(version)
        self._labels = np.array(VersionFolder(version).labels, object)
        self._jobs, self._columns = jobs, columns

    def __call__(self, block: pa.Table) -> Iterator[pa.Table]:
        """Does the jobs whose numbers are in the block's column "item"."""
        for number in block["item"].to_pylist():
            for chunk in self.chunks(number):
                yield table([chunk])

    def chunks(self, number: int) -> Iterator[Chunk]:
        """Does the job of this number. The last chunk is marked; there is one at least."""
        job = self._jobs[number]
        at = position = 0
        try:
            for part in parts(job, self._columns):
                position = part.position
                data = self._classified(part, job, header=at == 0)
                unreadable = part.unreadable
                yield Chunk(number, at, len(part.texts), data, len(unreadable), reasons(job, unreadable), position)
                at += 1
        except InputError as error:
            yield Chunk(number, at, is_last=True, error=str(error))
        else:
            yield Chunk(number, at, is_last=True, position=position)

    def _classified(self, part: Part, job: Job, *, header: bool) -> bytes:
        probabilities = self._engine.classify(part.texts).probabilities if part.texts else np.empty((0, 1), np.float32)
        labels = self._labels[probabilities.argmax(axis=1)].tolist()
        return encoded(part.rows, labels, probabilities.max(axis=1), job, self._columns, header=header)
