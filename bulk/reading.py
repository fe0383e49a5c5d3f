"""Reads a file as chunks. Whatever its size, one chunk is in memory at a time."""

from collections.abc import Iterator, Sequence
from typing import IO

import msgspec
import pyarrow as pa

from bulk.chunks import Chunk, dumped
from bulk.encoding import LINE, check_schema
from bulk.jobs import Columns, Job
from textfiles import Format, InputError, Row, Unreadable
from textfiles.text_file import not_utf8

CHUNK_ROWS = 512
CHUNK_CHARACTERS = 1 << 20
"""A chunk ends when it has so many rows or so many characters, or so many rows of Parquet."""

Part = tuple[pa.RecordBatch, list[Unreadable]]
"""Rows that can be read, and those between them that cannot."""
Fields = Row[list[str | None]]
Object = Row[dict[str, msgspec.Raw]]


def chunks(number: int, job: Job, columns: Columns) -> Iterator[Chunk]:
    """Reads the file of the job that has this number. The last chunk is marked; there is one at least."""
    at = position = 0
    try:
        with job.input.open() as file:
            for rows, unreadable in _parts(job, columns, file):
                position = file.tell()
                rejected = b"".join(_entry(job, row) for row in unreadable)
                yield Chunk(number, at, rows.num_rows, dumped(rows), len(unreadable), rejected, position)
                at += 1
    except InputError as error:
        yield Chunk(number, at, is_last=True, error=str(error))
    else:
        yield Chunk(number, at, is_last=True, position=position)


def _entry(job: Job, row: Unreadable) -> bytes:
    entry = {"file": str(job.input.path), job.input.unit: row.number, "reason": row.reason}
    return msgspec.json.encode(entry) + b"\n"


def _parts(job: Job, columns: Columns, file: IO[bytes]) -> Iterator[Part]:
    match job.input.format:
        case Format.PARQUET:
            return _parquet_parts(job, columns, file)
        case Format.JSON_LINES:
            return _json_parts(job, columns, file)
        case Format.TEXT:
            return _gathered([columns.text], map(_line, job.input.lines(file)))
        case _:
            names, rows = job.input.separated(file)
            _check(job, columns, names)
            return _gathered(names, rows)


def _check(job: Job, columns: Columns, names: Sequence[str]) -> None:
    """Checks that there is the column of texts, and that those to come are not there yet."""
    job.input.column(columns.text, names)
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{job.input.path}: more than one column {name!r}")
    for name in columns.added & set(names):
        raise InputError(f"{job.input.path}: {_taken(name)}")


def _taken(name: str) -> str:
    return f"has {name!r} already: choose other names by --label-column and --probability-column"


def _gathered(names: Sequence[str], rows: Iterator[Row[list[str]] | Fields | Unreadable]) -> Iterator[Part]:
    """Makes parts of the fields of rows, strings all."""
    schema = pa.schema([(name, pa.string()) for name in names])

    def part() -> Part:
        arrays = [pa.array(column, pa.string()) for column in zip(*fields, strict=True)]
        return (pa.record_batch(arrays, schema) if fields else pa.RecordBatch.from_pylist([], schema)), unreadable

    fields: list[Sequence[str | None]] = []
    unreadable: list[Unreadable] = []
    characters = 0
    for row in rows:
        if isinstance(row, Unreadable):
            unreadable.append(row)
        else:
            fields.append(row.value)
            characters += sum(map(len, filter(None, row.value)))
        if len(fields) + len(unreadable) == CHUNK_ROWS or characters >= CHUNK_CHARACTERS:
            yield part()
            fields, unreadable, characters = [], [], 0
    yield part()


def _line(line: Row[str] | Unreadable) -> Row[list[str]] | Unreadable:
    return line if isinstance(line, Unreadable) else Row(line.number, [line.value.rstrip("\r\n")])


def _json_parts(job: Job, columns: Columns, file: IO[bytes]) -> Iterator[Part]:
    names = _keys(job, columns)
    if job.keeps_json:
        return _gathered([columns.text, LINE], (_kept(row, columns) for row in _objects(job, columns, file)))
    return _gathered(names, (_fields(row, names) for row in _objects(job, columns, file)))


def _keys(job: Job, columns: Columns) -> list[str]:
    """Returns the keys of the first row that can be read."""
    first = None
    with job.input.open() as file:
        for row in _objects(job, columns, file):
            if isinstance(row, Row):
                return list(row.value)
            first = first or row
    raise InputError(f"{job.input.path}: no row can be read{f': line {first.number}: {first.reason}' if first else ''}")


def _objects(job: Job, columns: Columns, file: IO[bytes]) -> Iterator[Object | Unreadable]:
    """Reads the objects that have a text, and not yet what comes to it."""
    for row in job.input.objects(file):
        if isinstance(row, Unreadable):
            yield row
        elif columns.text not in row.value:
            yield Unreadable(row.number, f"no key {columns.text!r}: its keys are {', '.join(map(repr, row.value))}")
        elif taken := columns.added & row.value.keys():
            yield Unreadable(row.number, _taken(min(taken)))
        elif not bytes(row.value[columns.text]).startswith(b'"'):
            yield Unreadable(row.number, f"{columns.text!r} is not a string")
        else:
            yield row


def _kept(row: Object | Unreadable, columns: Columns) -> Fields | Unreadable:
    if isinstance(row, Unreadable):
        return row
    return Row(row.number, [msgspec.json.decode(row.value[columns.text]), msgspec.json.encode(row.value).decode()])


def _fields(row: Object | Unreadable, names: Sequence[str]) -> Fields | Unreadable:
    if isinstance(row, Unreadable):
        return row
    if unknown := row.value.keys() - set(names):
        return Unreadable(row.number, f"has {min(unknown)!r}, which is no column: the first row has not got it")
    return Row(row.number, [_field(row.value.get(name)) for name in names])


def _field(value: msgspec.Raw | None) -> str | None:
    """Returns a string as it is, nothing for null, and the JSON of all else."""
    if value is None:
        return None
    text = bytes(value).decode()
    if text.startswith('"'):
        return msgspec.json.decode(text, type=str)
    return None if text == "null" else text


def _parquet_parts(job: Job, columns: Columns, file: IO[bytes]) -> Iterator[Part]:
    schema, batches = job.input.record_batches(file, CHUNK_ROWS)
    _check(job, columns, schema.names)
    if not _holds_strings(schema.field(columns.text).type):
        raise InputError(f"{job.input.path}: {columns.text!r} holds {schema.field(columns.text).type}, not strings")
    check_schema(job, schema)
    number = 1
    yield pa.RecordBatch.from_pylist([], schema), []  # a file without rows has columns all the same
    for batch in batches:
        unreadable = list(_unreadable(batch, columns, number))
        bad = {row.number for row in unreadable}
        readable = batch.filter(pa.array(number + at not in bad for at in range(len(batch)))) if bad else batch
        yield readable, unreadable
        number += len(batch)


def _holds_strings(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def _unreadable(batch: pa.RecordBatch, columns: Columns, number: int) -> Iterator[Unreadable]:
    """Yields the rows without a text or with bytes that are no text; the first of the batch has this number."""
    try:
        batch.validate(full=True)
        if not batch[columns.text].null_count:
            return
    except pa.ArrowInvalid:
        pass
    for at in range(len(batch)):
        try:
            (row,) = batch.slice(at, 1).to_pylist()
            if row[columns.text] is None:
                yield Unreadable(number + at, f"{columns.text!r} holds no string")
        except UnicodeDecodeError as error:
            yield Unreadable(number + at, not_utf8(error))
