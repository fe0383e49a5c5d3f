"""Writes the outputs. One has its final name when it is whole, and the manifest says then what it was made of.

A run that is killed leaves files with hidden names, which the next run removes, and at most one whole output that the
manifest does not hold yet, which is made again.
"""

import fcntl
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec
import pyarrow as pa
from pyarrow import parquet

from bulk.inputs import Job
from bulk.results import Chunk, loaded
from textfiles import Format, InputError

MANIFEST = "manifest.jsonl"
"""In the folder of all outputs: what they are made by, and then a line for each that is whole."""
REJECTED = "rejected"
"""In the folder of all outputs: for each output, the rows that could not be read, if there are any."""

_PART = ".bulk-part"
_ROW_GROUP_BYTES = 1 << 25
"""Bytes of rows in memory that make a row group of Parquet."""


class Entry(msgspec.Struct, frozen=True):
    """What the manifest says of an output."""

    output: str
    input: str
    input_bytes: int
    modified_ns: int
    """When the input was changed."""
    rows: int
    rejected: int


class Outputs:
    """The folder of all outputs, made if it is not there. No other run may write to it until this is closed.

    Args:
        folder: where it is.
        made_by: what the outputs depend on, beside their inputs.

    Raises:
        InputError: another run is writing there, or what is there was not made by the same.
    """

    def __init__(self, folder: Path, made_by: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._manifest = folder / MANIFEST
        self._lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._entries = self._read(dict(made_by))
            self._write(dict(made_by))
        except BlockingIOError as error:
            os.close(self._lock)
            raise InputError(f"{folder}: another run is writing there") from error
        except BaseException:
            os.close(self._lock)
            raise
        for abandoned in folder.rglob(f".*{_PART}"):
            abandoned.unlink()

    def close(self) -> None:
        """Lets other runs write there."""
        os.close(self._lock)

    def _read(self, made_by: dict[str, str]) -> dict[str, Entry]:
        if not self._manifest.exists():
            if any(path.suffix != _PART for path in self.folder.iterdir()):
                raise InputError(f"{self.folder} holds other files: choose a new folder as --output")
            return {}
        lines = self._manifest.read_bytes().splitlines()
        try:
            before = msgspec.json.decode(lines[0] if lines else b"", type=dict[str, str])
        except msgspec.DecodeError as error:
            raise InputError(f"{self._manifest} is no manifest of this command: choose another --output") from error
        if before != made_by:
            raise InputError(f"{self.folder} holds what was made by {_shown(before)}: choose another --output")
        entries = {}
        for line in lines[1:]:
            with suppress(msgspec.DecodeError):  # the last may not be whole
                entry = msgspec.json.decode(line, type=Entry)
                entries[entry.output] = entry
        return entries

    def _write(self, made_by: dict[str, str]) -> None:
        part = self._manifest.with_name(f".{MANIFEST}{_PART}")
        part.write_bytes(msgspec.json.Encoder().encode_lines([made_by, *self._entries.values()]))
        part.replace(self._manifest)

    def is_finished(self, job: Job) -> bool:
        """Tells whether the output is there, made of the input as it is now."""
        entry = self._entries.get(str(job.output))
        made_of = entry and _entry(job, entry.rows, entry.rejected)
        return entry is not None and entry == made_of and (self.folder / job.output).exists()

    def begin(self, job: Job) -> "Output":
        """Returns the output to write: `publish` or its `close` ends that."""
        return Output(self.folder, job)

    def publish(self, output: "Output") -> None:
        """Gives a whole output its final name, and the manifest a line of it."""
        output.publish()
        with self._manifest.open("ab") as manifest:
            manifest.write(msgspec.json.encode(_entry(output.job, output.rows, output.rejected)) + b"\n")


class Output:
    """The output of a job under hidden names, and beside it the rows that could not be read."""

    def __init__(self, folder: Path, job: Job) -> None:
        self.job = job
        self.path = folder / job.output
        """The final one."""
        self.position = 0
        """Bytes of the input that are read."""
        self._final_rejected = folder / REJECTED / f"{job.output}.jsonl"
        self._is_parquet = job.format is Format.PARQUET
        self.rows = self.rejected = self._chunks = 0
        self._gathered: list[pa.RecordBatch] = []
        self._gathered_bytes = 0
        self._parquet: parquet.ParquetWriter | None = None
        self._file = _open(self.path)
        self._reasons: IO[bytes] | None = None

    def write(self, chunk: Chunk) -> None:
        """Takes the next chunk."""
        if chunk.number != self._chunks:
            raise RuntimeError(f"{self.path}: chunk {chunk.number} came in the place of {self._chunks}")
        self._chunks += 1
        self.position = chunk.position
        self.rows += chunk.rows
        self.rejected += chunk.rejected
        if chunk.reasons:
            self._reasons = self._reasons or _open(self._final_rejected)
            self._reasons.write(chunk.reasons)
        if chunk.data and self._is_parquet:
            self._gather(loaded(chunk.data))
        else:
            self._file.write(chunk.data)

    def _gather(self, batch: pa.RecordBatch) -> None:
        self._parquet = self._parquet or parquet.ParquetWriter(self._file, batch.schema)
        self._gathered.append(batch)
        self._gathered_bytes += batch.nbytes
        if self._gathered_bytes >= _ROW_GROUP_BYTES:
            self._write_row_group(self._parquet)

    def _write_row_group(self, writer: parquet.ParquetWriter) -> None:
        if self._gathered:
            writer.write_table(pa.Table.from_batches(self._gathered))
        self._gathered, self._gathered_bytes = [], 0

    def publish(self) -> None:
        """Gives the output its final name, when it is on the disk."""
        if self._parquet:
            self._write_row_group(self._parquet)
            self._parquet.close()
        if self._reasons:
            _publish(self._reasons, self._final_rejected)
        else:
            self._final_rejected.unlink(missing_ok=True)  # of the input as it was before
        _publish(self._file, self.path)

    def close(self) -> None:
        """Removes what has no final name."""
        for file in filter(None, (self._file, self._reasons)):
            file.close()
            Path(file.name).unlink(missing_ok=True)


def _open(final: Path) -> IO[bytes]:
    final.parent.mkdir(parents=True, exist_ok=True)
    return final.with_name(f".{final.name}{_PART}").open("wb")


def _publish(file: IO[bytes], final: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    Path(file.name).replace(final)


def _entry(job: Job, rows: int, rejected: int) -> Entry:
    return Entry(str(job.output), str(job.input.path), job.size, job.modified_ns, rows, rejected)


def _shown(made_by: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in made_by.items())
