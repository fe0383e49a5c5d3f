"""The parts of an output that go from a worker to the process that writes, each a row of a Ray Data block."""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Chunk:
    """Some rows of a file with their answers, one after another, and what is known of those between them that cannot be
    read.
    """

    job: int
    """Which of the jobs."""
    number: int
    """From 0: its place in the file."""
    rows: int = 0
    """How many can be read."""
    data: bytes = b""
    """The rows: lines of the output, or for Parquet a record batch that was dumped."""
    rejected: int = 0
    """How many cannot be read."""
    reasons: bytes = b""
    """Why, in JSON Lines."""
    position: int = 0
    """Bytes of the file that are read."""
    is_last: bool = False
    error: str = ""
    """Why the file cannot be read any further. The chunk is the last then."""


_SCHEMA = pa.schema(
    {
        "job": pa.int64(),
        "number": pa.int64(),
        "rows": pa.int64(),
        "data": pa.binary(),
        "rejected": pa.int64(),
        "reasons": pa.binary(),
        "position": pa.int64(),
        "is_last": pa.bool_(),
        "error": pa.string(),
    }
)


def table(chunks: Sequence[Chunk]) -> pa.Table:
    """Returns a block of these chunks."""
    return pa.Table.from_pylist([asdict(chunk) for chunk in chunks], _SCHEMA)


def chunks_in(block: pa.Table) -> list[Chunk]:
    """Returns the chunks in a block."""
    return [Chunk(**row) for row in block.to_pylist()]


def dumped(batch: pa.RecordBatch) -> bytes:
    """Returns a record batch and its schema as bytes."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return sink.getvalue()


def loaded(data: bytes) -> pa.RecordBatch:
    """Returns the record batch that was dumped."""
    return pa.ipc.open_stream(data).read_next_batch()
