"""The code of a worker: it loads the engine once, then classifies one file after another."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from bulk.encoding import encode
from bulk.inputs import Columns, InputFile
from bulk.reading import Batch, read_batches, rejection_lines
from bulk.results import BatchResult, to_block
from textfiles import InputError
from textmodel import VersionFolder, load_engine


class FileClassifier:
    """Classifies files batch by batch. One batch is in memory at a time.

    Args:
        version: the version folder.
        inputs: all input files.
        columns: the names of the columns.
        thresholds: for each label, in order, the probability below which an answer is marked; None if `columns` has no
            name for the marks.

    Raises:
        ModelError: the version cannot be loaded.
    """

    def __init__(
        self,
        version: Path,
        inputs: Sequence[InputFile],
        columns: Columns,
        thresholds: Sequence[float] | None = None,
    ) -> None:
        self._engine = load_engine(version)
        self._labels = np.array(VersionFolder(version).labels, object)
        self._inputs, self._columns = inputs, columns
        self._thresholds = None if thresholds is None else np.array(thresholds)

    def __call__(self, block: pa.Table) -> Iterator[pa.Table]:
        """Classifies the files whose indices are in the block's column "item"."""
        for index in block["item"].to_pylist():
            for result in self.classify_file(index):
                yield to_block([result])

    def classify_file(self, index: int) -> Iterator[BatchResult]:
        """Classifies one input file. Yields at least one result, and marks the last one."""
        input_ = self._inputs[index]
        number = position = 0
        try:
            for batch in read_batches(input_, self._columns):
                position = batch.position
                data = self._classify(batch, input_, header=number == 0)
                yield BatchResult(
                    index,
                    number,
                    len(batch.texts),
                    data,
                    rejected=len(batch.unreadable),
                    misencoded=sum(row.has_wrong_encoding for row in batch.unreadable),
                    reasons=rejection_lines(input_, batch.unreadable),
                    position=position,
                )
                number += 1
        except InputError as error:
            yield BatchResult(index, number, is_last=True, error=str(error))
        else:
            yield BatchResult(index, number, is_last=True, position=position)

    def _classify(self, batch: Batch, input_: InputFile, *, header: bool) -> bytes:
        texts = batch.texts
        probabilities = self._engine.classify(texts).probabilities if texts else np.empty((0, 1), np.float32)
        winners, winning = probabilities.argmax(axis=1), probabilities.max(axis=1)
        labels = self._labels[winners].tolist()
        abstained = None if self._thresholds is None else winning < self._thresholds[winners]
        return encode(batch.rows, labels, winning, input_, self._columns, header=header, abstained=abstained)
