"""Rows and their answers as bytes of the output."""

import gzip
import io
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from bulk.inputs import Columns, Job
from bulk.results import dumped
from textfiles import Format, InputError

Rows: TypeAlias = pa.RecordBatch | list[bytes]
"""Columns, or each row as the JSON object that it is."""


_encode = msgspec.json.Encoder(enc_hook=str).encode


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


def encoded(
    rows: Rows,
    labels: Sequence[str],
    probabilities: NDArray[np.float32],
    job: Job,
    columns: Columns,
    *,
    header: bool,
) -> bytes:
    """Returns rows with their answers: lines, compressed if the job's are; for Parquet a record batch that was dumped.

    Args:
        rows: objects only if the job keeps JSON.
        labels: as many as rows.
        probabilities: as many as rows.
        job: says the format.
        columns: the names of those that are added.
        header: whether the names of columns come first, in a format that has them once.
    """
    if isinstance(rows, list) or job.format is Format.JSON_LINES:
        lines = _json(rows, labels, probabilities, columns)
    else:
        batch = rows.append_column(columns.label, pa.array(labels, pa.string()))
        batch = batch.append_column(columns.probability, pa.array(probabilities, pa.float32()))
        if job.format is Format.PARQUET:
            return dumped(batch)
        lines = _separated(batch, job, header=header)
    # Compressed streams one after another are one.
    return gzip.compress(lines, compresslevel=1, mtime=0) if job.compressed else lines


def _separated(batch: pa.RecordBatch, job: Job, *, header: bool) -> bytes:
    sink = io.BytesIO()
    header = header and job.input.options.header
    csv.write_csv(batch, sink, csv.WriteOptions(include_header=header, delimiter=job.delimiter))
    return sink.getvalue()


def _json(rows: Rows, labels: Sequence[str], probabilities: NDArray[np.float32], columns: Columns) -> bytes:
    objects: Iterable[bytes] = rows if isinstance(rows, list) else map(_encode, rows.to_pylist())
    label, probability = (msgspec.json.encode(name) for name in (columns.label, columns.probability))
    answers = {name: b",%b:%b,%b:" % (label, msgspec.json.encode(name), probability) for name in set(labels)}
    # As few digits as tell a float32 from the next.
    digits = probabilities.astype("S")
    return b"".join(
        b"%b%b%b}\n" % (row[:-1], answers[name], value)
        for row, name, value in zip(objects, labels, digits.tolist(), strict=True)
    )
