"""Reads Parquet a few rows at a time, whatever the size of its row groups."""

from collections.abc import Iterator, Sequence
from typing import IO

import pyarrow as pa
from pyarrow import parquet

_BATCH_BYTES = 1 << 20
_STEP_ROWS = 128
"""Maximum number of rows that are decoded together. More rows are no faster. They take much memory if some rows are far
larger than others, or if rows repeat a long text that the file stores once."""


def open_parquet(file: IO[bytes]) -> parquet.ParquetFile:
    """Opens a file so that one page of it is in memory at a time, not a whole row group."""
    return parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)


def record_batches(
    source: parquet.ParquetFile, rows: int, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yields batches of about `rows` rows, or fewer if the rows are large, with these columns or all."""
    steps: list[pa.RecordBatch] = []
    count = size = 0
    for step in _steps(source, columns):
        steps.append(step)
        count += len(step)
        size += step.nbytes
        if count >= rows or size >= _BATCH_BYTES:
            batch, steps, count, size = pa.concat_batches(steps), [], 0, 0  # frees the steps
            yield batch
    if steps:
        yield pa.concat_batches(steps)


def _steps(source: parquet.ParquetFile, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    """Yields a few rows at a time: the rows of a step are in memory together, however large they are."""
    for group in range(source.num_row_groups):
        about = source.metadata.row_group(group)
        fitting = _BATCH_BYTES * about.num_rows // max(1, about.total_byte_size)
        yield from source.iter_batches(max(1, min(fitting, _STEP_ROWS)), [group], columns=columns)
