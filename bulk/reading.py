"""Reads a file part by part. Whatever its size, one part is in memory at a time."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, NamedTuple, TypeVar

import msgspec
import pyarrow as pa

from bulk.encoding import Rows, check_schema
from bulk.inputs import Columns, Job
from textfiles import Format, InputError, Row, Unreadable
from textfiles.decoding import invalid_text

PART_ROWS = 2048
PART_CHARACTERS = 1 << 20
"""A part ends when it has so many rows or so many characters; in Parquet, a like number of bytes."""


class Part(NamedTuple):
    """Some rows of a file, one after another."""

    texts: list[str]
    """Of those that can be read."""
    rows: Rows
    """Those that can be read."""
    unreadable: list[Unreadable]
    """Those between them that cannot."""
    position: int
    """Bytes of the file that are read."""


T = TypeVar("T")
Fields = Row[Sequence[str | None]]
Object = Row[dict[str, msgspec.Raw]]


def parts(job: Job, columns: Columns) -> Iterator[Part]:
    """Reads the file of a job.

    Raises:
        InputError: it cannot be read, or not to its end.
    """
    with job.input.open() as file:
        match job.input.format:
            case Format.PARQUET:
                yield from _parquet_parts(job, columns, file)
            case Format.JSON_LINES:
                names = _keys(job, columns)
                objects = _objects(job, columns, file)
                if job.keeps_json:
                    yield from _object_parts(objects, columns, file)
                else:
                    yield from _column_parts(names, (_fields(row, names) for row in objects), columns, file)
            case Format.TEXT:
                yield from _column_parts([columns.text], map(_line, job.input.lines(file)), columns, file)
            case _:
                names, separated = job.input.separated(file)
                _check(job, columns, names)
                yield from _column_parts(names, separated, columns, file)


def reasons(job: Job, unreadable: Iterable[Unreadable]) -> bytes:
    """Returns what is wrong with rows, in JSON Lines."""
    return b"".join(map(job.input.reason, unreadable))


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


def _column_parts(
    names: Sequence[str], rows: Iterable[Fields | Unreadable], columns: Columns, file: IO[bytes]
) -> Iterator[Part]:
    """Makes columns of the fields of rows, strings all."""
    schema = pa.schema([(name, pa.string()) for name in names])
    text = names.index(columns.text)
    for fields, unreadable in _gathered(rows, lambda values: sum(map(len, filter(None, values)))):
        arrays = [pa.array(column, pa.string()) for column in zip(*fields, strict=True)]
        batch = pa.record_batch(arrays, schema) if fields else pa.RecordBatch.from_pylist([], schema)
        yield Part([values[text] or "" for values in fields], batch, unreadable, file.tell())


def _gathered(
    rows: Iterable[Row[T] | Unreadable], size: Callable[[T], int]
) -> Iterator[tuple[list[T], list[Unreadable]]]:
    """Gathers rows until they are enough for a part. The last part may be empty."""
    values: list[T] = []
    unreadable: list[Unreadable] = []
    total = 0
    for row in rows:
        if isinstance(row, Unreadable):
            unreadable.append(row)
        else:
            values.append(row.value)
            total += size(row.value)
        if len(values) + len(unreadable) == PART_ROWS or total >= PART_CHARACTERS:
            yield values, unreadable
            values, unreadable, total = [], [], 0
    yield values, unreadable


def _line(line: Row[str] | Unreadable) -> Row[list[str]] | Unreadable:
    return line if isinstance(line, Unreadable) else Row(line.number, [line.value.rstrip("\r\n")])


def _object_parts(objects: Iterable[Object | Unreadable], columns: Columns, file: IO[bytes]) -> Iterator[Part]:
    """Keeps objects as the JSON that they are."""
    for values, unreadable in _gathered((_kept(row, columns) for row in objects), lambda kept: len(kept[1])):
        yield Part([text for text, _ in values], [json for _, json in values], unreadable, file.tell())


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


def _kept(row: Object | Unreadable, columns: Columns) -> Row[tuple[str, bytes]] | Unreadable:
    if isinstance(row, Unreadable):
        return row
    return Row(row.number, (msgspec.json.decode(row.value[columns.text], type=str), msgspec.json.encode(row.value)))


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
    schema, batches = job.input.record_batches(file, PART_ROWS)
    _check(job, columns, schema.names)
    if not _holds_strings(schema.field(columns.text).type):
        raise InputError(f"{job.input.path}: {columns.text!r} holds {schema.field(columns.text).type}, not strings")
    check_schema(job, schema)
    number = 1
    yield Part([], pa.RecordBatch.from_pylist([], schema), [], 0)  # a file without rows has columns all the same
    for batch in batches:
        unreadable = list(_unreadable(batch, columns, number))
        bad = {row.number for row in unreadable}
        readable = batch.filter(pa.array(number + at not in bad for at in range(len(batch)))) if bad else batch
        yield Part(readable[columns.text].to_pylist(), readable, unreadable, file.tell())
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
            yield Unreadable(number + at, invalid_text(error))
