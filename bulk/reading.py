"""Reads an input file in batches. Whatever its size, one batch is in memory at a time."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, NamedTuple, TypeVar

import msgspec
import pyarrow as pa

from bulk.encoding import Rows, check_schema
from bulk.inputs import Columns, InputFile
from textfiles import Format, InputError, Row, Unreadable
from textfiles.columns import TEXT_OPTION, spelling_hint
from textfiles.decoding import invalid_text

MAX_BATCH_ROWS = 2048
MAX_BATCH_CHARACTERS = 1 << 20
"""A batch ends at either maximum. For Parquet, the second one counts bytes."""


class Batch(NamedTuple):
    """Consecutive rows of a file."""

    texts: list[str]
    """The texts of the readable rows."""
    rows: Rows
    """The readable rows."""
    unreadable: list[Unreadable]
    """The other rows, and the reasons."""
    position: int
    """Number of bytes of the file that have been read."""


T = TypeVar("T")
_EMPTY = "the text is empty"
"""The reason to reject a row whose text is null, empty or white space, in any format."""

Fields = Row[Sequence[str | None]]
Object = Row[dict[str, msgspec.Raw]]


def read_batches(input_: InputFile, columns: Columns) -> Iterator[Batch]:
    """Reads an input file.

    Raises:
        InputError: the file cannot be read to its end.
    """
    with input_.file.open() as file:
        match input_.file.format:
            case Format.PARQUET:
                yield from _parquet_batches(input_, columns, file)
            case Format.JSON_LINES:
                names = _keys(input_, columns)
                objects = _objects(input_, columns, file)
                if input_.keeps_json:
                    yield from _object_batches(objects, columns, file)
                else:
                    yield from _column_batches(names, (_fields(row, names) for row in objects), columns, file)
            case Format.TEXT:
                yield from _column_batches([columns.text], map(_line, input_.file.lines(file)), columns, file)
            case _:
                names, separated = input_.file.separated(file)
                _check(input_, columns, names)
                yield from _column_batches(names, separated, columns, file)


def rejection_lines(input_: InputFile, unreadable: Iterable[Unreadable]) -> bytes:
    """Returns the reasons why rows are unreadable, in JSON Lines."""
    return b"".join(map(input_.file.reason, unreadable))


def _check(input_: InputFile, columns: Columns, names: Sequence[str]) -> None:
    """Checks that the column of texts exists, and that the columns to add do not."""
    input_.file.column(columns.text, names)
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{input_.file.path}: more than one column {name!r}")
    for name in columns.added & set(names):
        raise InputError(f"{input_.file.path}: {_taken(name, columns)}")


def _taken(name: str, columns: Columns) -> str:
    options = {columns.label: "--label-column", columns.probability: "--probability-column"}
    return f"has a column {name!r} already: choose another name with {options.get(name, '--abstained-column')}"


def _column_batches(
    names: Sequence[str], rows: Iterable[Fields | Unreadable], columns: Columns, file: IO[bytes]
) -> Iterator[Batch]:
    """Gathers rows into batches with columns of strings."""
    schema = pa.schema([(name, pa.string()) for name in names])
    text = names.index(columns.text)
    checked = (_with_text(row, lambda values: values[text]) for row in rows)
    for fields, unreadable in _gathered(checked, lambda values: sum(map(len, filter(None, values)))):
        arrays = [pa.array(column, pa.string()) for column in zip(*fields, strict=True)]
        batch = pa.record_batch(arrays, schema) if fields else pa.RecordBatch.from_pylist([], schema)
        yield Batch([values[text] or "" for values in fields], batch, unreadable, file.tell())


def _gathered(
    rows: Iterable[Row[T] | Unreadable], size: Callable[[T], int]
) -> Iterator[tuple[list[T], list[Unreadable]]]:
    """Gathers rows until a batch is full. The last batch may be empty."""
    values: list[T] = []
    unreadable: list[Unreadable] = []
    total = 0
    for row in rows:
        if isinstance(row, Unreadable):
            unreadable.append(row)
        else:
            values.append(row.value)
            total += size(row.value)
        if len(values) + len(unreadable) == MAX_BATCH_ROWS or total >= MAX_BATCH_CHARACTERS:
            yield values, unreadable
            values, unreadable, total = [], [], 0
    yield values, unreadable


def _with_text(row: Row[T] | Unreadable, text: Callable[[T], str | None]) -> Row[T] | Unreadable:
    """Returns the row, or an `Unreadable` if its text is empty."""
    return Unreadable(row.number, _EMPTY) if isinstance(row, Row) and _is_empty(text(row.value)) else row


def _is_empty(text: str | None) -> bool:
    return not text or text.isspace()


def _line(line: Row[str] | Unreadable) -> Row[list[str]] | Unreadable:
    return line if isinstance(line, Unreadable) else Row(line.number, [line.value.rstrip("\r\n")])


def _object_batches(objects: Iterable[Object | Unreadable], columns: Columns, file: IO[bytes]) -> Iterator[Batch]:
    """Gathers rows into batches of JSON objects, unchanged."""
    for values, unreadable in _gathered((_kept(row, columns) for row in objects), lambda kept: len(kept[1])):
        yield Batch([text for text, _ in values], [json for _, json in values], unreadable, file.tell())


def _keys(input_: InputFile, columns: Columns) -> list[str]:
    """Returns the keys of the first readable row."""
    first = None
    with input_.file.open() as file:
        for row in _objects(input_, columns, file):
            if isinstance(row, Row):
                return list(row.value)
            first = first or row
    raise InputError(f"{input_.file.path}: no readable row{f': line {first.number}: {first.reason}' if first else ''}")


def _objects(input_: InputFile, columns: Columns, file: IO[bytes]) -> Iterator[Object | Unreadable]:
    """Reads objects, and marks those without a text or with a key that would be added as unreadable."""
    for row in input_.file.objects(file):
        if isinstance(row, Unreadable):
            yield row
        elif columns.text not in row.value:
            hint = spelling_hint(columns.text, row.value, TEXT_OPTION)
            keys = ", ".join(map(repr, row.value))
            yield Unreadable(row.number, f"no key {columns.text!r}: its keys are {keys}{hint}")
        elif taken := columns.added & row.value.keys():
            yield Unreadable(row.number, _taken(min(taken), columns))
        elif not bytes(row.value[columns.text]).startswith((b'"', b"null")):
            yield Unreadable(row.number, f"{columns.text!r} is not a string")
        else:
            yield row


def _kept(row: Object | Unreadable, columns: Columns) -> Row[tuple[str, bytes]] | Unreadable:
    if isinstance(row, Unreadable):
        return row
    text = msgspec.json.decode(row.value[columns.text], type=str | None) or ""
    return _with_text(Row(row.number, (text, msgspec.json.encode(row.value))), lambda kept: kept[0])


def _fields(row: Object | Unreadable, names: Sequence[str]) -> Fields | Unreadable:
    if isinstance(row, Unreadable):
        return row
    if unknown := row.value.keys() - set(names):
        return Unreadable(row.number, f"has the key {min(unknown)!r}, which the first row lacks")
    return Row(row.number, [_field(row.value.get(name)) for name in names])


def _field(value: msgspec.Raw | None) -> str | None:
    """Returns a string unchanged, None for null, and the JSON text of any other value."""
    if value is None:
        return None
    text = bytes(value).decode()
    if text.startswith('"'):
        return msgspec.json.decode(text, type=str)
    return None if text == "null" else text


def _parquet_batches(input_: InputFile, columns: Columns, file: IO[bytes]) -> Iterator[Batch]:
    schema, batches = input_.file.record_batches(file, MAX_BATCH_ROWS)
    _check(input_, columns, schema.names)
    if not _holds_strings(schema.field(columns.text).type):
        raise InputError(
            f"{input_.file.path}: {columns.text!r} contains {schema.field(columns.text).type}, not strings"
        )
    check_schema(input_, schema)
    number = 1
    yield Batch([], pa.RecordBatch.from_pylist([], schema), [], 0)  # a file without rows still has columns
    for batch in batches:
        unreadable = list(_unreadable(batch, columns, number))
        bad = {row.number for row in unreadable}
        readable = batch.filter(pa.array(number + at not in bad for at in range(len(batch)))) if bad else batch
        yield Batch(readable[columns.text].to_pylist(), readable, unreadable, file.tell())
        number += len(batch)


def _holds_strings(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def _unreadable(batch: pa.RecordBatch, columns: Columns, number: int) -> Iterator[Unreadable]:
    """Yields the rows without a text or with bytes that are not UTF-8. `number` is that of the batch's first row."""
    try:
        batch.validate(full=True)
        if not any(map(_is_empty, batch[columns.text].to_pylist())):
            return
    except pa.ArrowInvalid:
        pass
    for at in range(len(batch)):
        try:
            (row,) = batch.slice(at, 1).to_pylist()
            if _is_empty(row[columns.text]):
                yield Unreadable(number + at, _EMPTY)
        except UnicodeDecodeError as error:
            yield Unreadable(number + at, invalid_text(error))
