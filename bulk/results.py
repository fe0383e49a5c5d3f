"""The results that a worker sends to the driver: one for each batch, as a row of a Ray Data block."""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pyarrow as pa


@dataclass(frozen=True)
class BatchResult:
    """The classified rows of a batch, and its rejected rows."""

    input: int
    """Index of the input file."""
    number: int
    """Index of the batch in its file, from 0."""
    rows: int = 0
    """Number of classified rows."""
    data: bytes = b""
    """The classified rows: lines of the output, or for Parquet a serialized record batch."""
    rejected: int = 0
    """Number of rejected rows."""
    reasons: bytes = b""
    """The reasons of rejected rows, in JSON Lines."""
    position: int = 0
    """Number of bytes of the file that have been read."""
    is_last: bool = False
    """Whether the file has no further batch."""
    error: str = ""
    """Why the rest of the file cannot be read. Such a result is the last."""
    misencoded: int = 0
    """Number of rejected rows that are not in the encoding of the file."""


_SCHEMA = pa.schema(
    {
        "input": pa.int64(),
        "number": pa.int64(),
        "rows": pa.int64(),
        "data": pa.binary(),
        "rejected": pa.int64(),
        "misencoded": pa.int64(),
        "reasons": pa.binary(),
        "position": pa.int64(),
        "is_last": pa.bool_(),
        "error": pa.string(),
    }
)


def to_block(results: Sequence[BatchResult]) -> pa.Table:
    """Returns a block with these results."""
    return pa.Table.from_pylist([asdict(result) for result in results], _SCHEMA)


def from_block(block: pa.Table) -> list[BatchResult]:
    """Returns the results in a block."""
    return [BatchResult(**row) for row in block.to_pylist()]


def serialize(batch: pa.RecordBatch) -> bytes:
    """Returns a record batch with its schema in Arrow's stream format."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return sink.getvalue()


def deserialize(data: bytes) -> pa.RecordBatch:
    """Returns the record batch that was passed to `serialize`."""
    return pa.ipc.open_stream(data).read_next_batch()
