"""What runs in a worker: one engine, loaded once."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from bulk.chunks import Chunk, chunks_in, dumped, loaded, table
from bulk.encoding import lines, with_answers
from bulk.jobs import Columns, Job
from textfiles import Format
from textmodel import VersionFolder, load_engine


class Classifier:
    """Turns the rows of chunks into rows with answers.

    Args:
        version: the version folder.
        jobs: all of them; a chunk has the number of its own.
        columns: of the texts and of the answers.

    Raises:
        ModelError: the version cannot be loaded.
    """

    def __init__(self, version: Path, jobs: Sequence[Job], columns: Columns) -> None:
        self._engine = load_engine(version)
        self._labels = VersionFolder(version).labels
        self._jobs, self._columns = jobs, columns

    def __call__(self, block: pa.Table) -> pa.Table:
        """Classifies the chunks of a block."""
        return table([self._classified(chunk) for chunk in chunks_in(block)])

    def _classified(self, chunk: Chunk) -> Chunk:
        if not chunk.data:
            return chunk
        job = self._jobs[chunk.job]
        batch = self._with_answers(loaded(chunk.data))
        if job.format is Format.PARQUET:
            return replace(chunk, data=dumped(batch))
        return replace(chunk, data=lines(batch, job, self._columns, header=chunk.number == 0))

    def _with_answers(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        texts = batch[self._columns.text].to_pylist()
        probabilities = self._engine.classify(texts).probabilities if texts else np.empty((0, 1), np.float32)
        labels = [self._labels[winner] for winner in probabilities.argmax(axis=1)]
        return with_answers(batch, labels, probabilities.max(axis=1), self._columns)
