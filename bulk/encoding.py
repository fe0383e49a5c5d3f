"""Rows as lines of the output."""

import gzip
import io
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from bulk.jobs import Columns, Job
from textfiles import Format, InputError

LINE = "\0"
"""The column, beside that of the texts, of rows that stay the JSON that they are. No other has this name."""


def check_schema(job: Job, schema: pa.Schema) -> None:
    """Checks that the output's format can hold columns of these types.

    Raises:
        InputError: it cannot.
    """
    if job.format in (Format.CSV, Format.TSV):
        try:
            csv.write_csv(schema.empty_table(), io.BytesIO())
        except pa.ArrowException as error:
            raise InputError(f"{job.input.path}: {error}: choose --format jsonl or parquet") from error


def with_answers(
    batch: pa.RecordBatch, labels: Sequence[str], probabilities: NDArray[np.float32], columns: Columns
) -> pa.RecordBatch:
    """Returns the rows with the two columns more."""
    batch = batch.append_column(columns.label, pa.array(labels, pa.string()))
    return batch.append_column(columns.probability, pa.array(probabilities, pa.float32()))


def lines(batch: pa.RecordBatch, job: Job, columns: Columns, *, header: bool) -> bytes:
    """Returns rows that have their answers as lines of CSV, TSV or JSON, compressed if the job's are."""
    encoded = _json(batch, job, columns) if job.format is Format.JSON_LINES else _separated(batch, job, header=header)
    # Compressed streams one after another are one.
    return gzip.compress(encoded, compresslevel=1, mtime=0) if job.input.compressed else encoded


def _separated(batch: pa.RecordBatch, job: Job, *, header: bool) -> bytes:
    sink = io.BytesIO()
    csv.write_csv(batch, sink, csv.WriteOptions(include_header=header, delimiter=job.format.delimiter))
    return sink.getvalue()


def _json(batch: pa.RecordBatch, job: Job, columns: Columns) -> bytes:
    rows: Iterable[bytes]
    if job.keeps_json:
        rows = (line.encode() for line in batch[LINE].to_pylist())
    else:
        encoder = msgspec.json.Encoder(enc_hook=str)
        rows = map(encoder.encode, batch.drop_columns([columns.label, columns.probability]).to_pylist())
    label, probability = (msgspec.json.encode(name) for name in (columns.label, columns.probability))
    answers = zip(
        map(msgspec.json.encode, batch[columns.label].to_pylist()),
        # As few digits as tell a float32 from the next.
        batch[columns.probability].to_numpy().astype(str).tolist(),
        strict=True,
    )
    return b"".join(
        b"%b,%b:%b,%b:%b}\n" % (row[:-1], label, name, probability, value.encode())
        for row, (name, value) in zip(rows, answers, strict=True)
    )
