"""Encodes classified rows in the format of the output."""

import gzip
import io
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from bulk.inputs import Columns, InputFile
from bulk.results import serialize
from textfiles import Format, InputError

Rows: TypeAlias = pa.RecordBatch | list[bytes]
"""Columns, or one JSON object for each row."""

_to_json = msgspec.json.Encoder(enc_hook=str).encode


def check_schema(input_: InputFile, schema: pa.Schema) -> None:
    """Checks that the format of the output supports columns of these types.

    Raises:
        InputError: the format does not support one of them.
    """
    if input_.format in (Format.CSV, Format.TSV):
        try:
            csv.write_csv(schema.empty_table(), io.BytesIO())
        except pa.ArrowException as error:
            raise InputError(f"{input_.file.path}: {error}: choose --format jsonl or parquet") from error


def encode(
    rows: Rows,
    labels: Sequence[str],
    probabilities: NDArray[np.float32],
    input_: InputFile,
    columns: Columns,
    *,
    header: bool,
    abstained: NDArray[np.bool_] | None = None,
) -> bytes:
    """Returns lines of the output, compressed if the output is, or for Parquet a serialized record batch.

    Args:
        rows: the rows; JSON objects only if `input_.keeps_json`.
        labels: one label for each row.
        probabilities: the probability of each label, (rows,).
        input_: the input file, which has the format of the output.
        columns: the names of the columns to add.
        header: whether to begin with the names of the columns, in CSV and TSV.
        abstained: whether each answer abstains, (rows,); None if `columns` has no name for it.
    """
    if isinstance(rows, list) or input_.format is Format.JSON_LINES:
        lines = _json(rows, labels, probabilities, columns, abstained)
    else:
        batch = rows.append_column(columns.label, pa.array(labels, pa.string()))
        batch = batch.append_column(columns.probability, pa.array(probabilities, pa.float32()))
        if abstained is not None:
            batch = batch.append_column(columns.abstained, pa.array(abstained, pa.bool_()))
        if input_.format is Format.PARQUET:
            return serialize(batch)
        lines = _separated(batch, input_, header=header)
    # Concatenated gzip streams are one gzip file.
    return gzip.compress(lines, compresslevel=1, mtime=0) if input_.compressed else lines


def _separated(batch: pa.RecordBatch, input_: InputFile, *, header: bool) -> bytes:
    sink = io.BytesIO()
    header = header and input_.file.options.header
    csv.write_csv(batch, sink, csv.WriteOptions(include_header=header, delimiter=input_.delimiter))
    return sink.getvalue()


def _json(
    rows: Rows,
    labels: Sequence[str],
    probabilities: NDArray[np.float32],
    columns: Columns,
    abstained: NDArray[np.bool_] | None,
) -> bytes:
    objects: Iterable[bytes] = rows if isinstance(rows, list) else map(_to_json, rows.to_pylist())
    label, probability = (msgspec.json.encode(name) for name in (columns.label, columns.probability))
    answers = {name: b",%b:%b,%b:" % (label, msgspec.json.encode(name), probability) for name in set(labels)}
    # The fewest digits that distinguish a float32 from its neighbours.
    digits = probabilities.astype("S")
    ends = [b"}\n"] * len(labels)
    if abstained is not None:
        key = msgspec.json.encode(columns.abstained)
        ends = [b",%b:%b}\n" % (key, b"true" if each else b"false") for each in abstained]
    return b"".join(
        b"%b%b%b%b" % (row[:-1], answers[name], value, end)
        for row, name, value, end in zip(objects, labels, digits.tolist(), ends, strict=True)
    )
