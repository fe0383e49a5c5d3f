"""Writes the outputs. An output gets its final name when it is complete, and then an entry in the manifest.

A killed run leaves files with hidden names, which the next run removes, and at most one complete output without an
entry, which the next run writes again.
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

from bulk.inputs import MANIFEST, InputFile
from bulk.results import BatchResult, deserialize
from textfiles import Format, InputError

_PART = ".bulk-part"
_MAX_SHOWN = 60
"""Maximum number of characters of a setting that an error shows."""
_OPTIONS = {
    "version": "--model",
    "thresholds": "--min-probability or --use-thresholds",
    "input": "options of reading",
}
"""The options for settings that have other names."""
_ROW_GROUP_BYTES = 1 << 25
"""Size of a Parquet row group in memory."""


class ManifestEntry(msgspec.Struct, frozen=True):
    """A complete output."""

    output: str
    input: str
    input_bytes: int
    modified_ns: int
    """Modification time of the input."""
    rows: int
    rejected: int


class OutputFolder:
    """The folder of all outputs. It is created if missing, and locked against other runs until `close`.

    Args:
        folder: the path of the folder.
        settings: everything that the outputs depend on, except the inputs.

    Raises:
        InputError: another run writes there, or the folder contains outputs of other settings or other files.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._manifest = folder / MANIFEST
        self._lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._entries = self._read(dict(settings))
            self._write(dict(settings))
        except BlockingIOError as error:
            os.close(self._lock)
            raise InputError(f"{folder}: another run is writing to this folder") from error
        except BaseException:
            os.close(self._lock)
            raise
        for abandoned in folder.rglob(f".*{_PART}"):
            abandoned.unlink()

    def close(self) -> None:
        """Releases the folder for other runs."""
        os.close(self._lock)

    def _read(self, settings: dict[str, str]) -> dict[str, ManifestEntry]:
        if not self._manifest.exists():
            if any(path.suffix != _PART for path in self.folder.iterdir()):
                raise InputError(f"{self.folder} contains other files: choose a new folder as --output")
            return {}
        lines = self._manifest.read_bytes().splitlines()
        try:
            before = msgspec.json.decode(lines[0] if lines else b"", type=dict[str, str])
        except msgspec.DecodeError as error:
            raise InputError(f"{self._manifest} is not a manifest of this command: choose another --output") from error
        if before != settings:
            raise InputError(
                f"{self.folder} contains outputs of other options: {_differences(before, settings)}: give the same"
                " again, or choose another --output"
            )
        entries = {}
        for line in lines[1:]:
            with suppress(msgspec.DecodeError):  # the last line may be incomplete
                entry = msgspec.json.decode(line, type=ManifestEntry)
                entries[entry.output] = entry
        return entries

    def _write(self, settings: dict[str, str]) -> None:
        part = self._manifest.with_name(f".{MANIFEST}{_PART}")
        part.write_bytes(msgspec.json.Encoder().encode_lines([settings, *self._entries.values()]))
        part.replace(self._manifest)

    def is_finished(self, input_: InputFile) -> bool:
        """Tells whether the output exists and was made from the current input."""
        entry = self._entries.get(str(input_.output))
        if entry is None or entry != _entry(input_, entry.rows, entry.rejected):
            return False
        return (self.folder / input_.output).exists()

    def create(self, input_: InputFile) -> "OutputFile":
        """Returns a new output to write. Finish it with `publish`, or discard it with its `close`."""
        return OutputFile(self.folder, input_)

    def publish(self, output: "OutputFile") -> None:
        """Gives a complete output its final name and an entry in the manifest."""
        output.publish()
        with self._manifest.open("ab") as manifest:
            manifest.write(msgspec.json.encode(_entry(output.input, output.rows, output.rejected)) + b"\n")


class OutputFile:
    """An output under a hidden name, and the file of its rejected rows."""

    def __init__(self, folder: Path, input_: InputFile) -> None:
        self.input = input_
        self.path = folder / input_.output
        """The final path."""
        self.position = 0
        """Number of bytes of the input that have been read."""
        self._final_rejected = folder / input_.rejected
        self._is_parquet = input_.format is Format.PARQUET
        self.rows = self.rejected = self._batches = 0
        self._gathered: list[pa.RecordBatch] = []
        self._gathered_bytes = 0
        self._parquet: parquet.ParquetWriter | None = None
        self._file = _open(self.path)
        self._reasons: IO[bytes] | None = None

    def write(self, result: BatchResult) -> None:
        """Writes the result of the next batch."""
        if result.number != self._batches:
            raise RuntimeError(f"{self.path}: got batch {result.number} instead of {self._batches}")
        self._batches += 1
        self.position = result.position
        self.rows += result.rows
        self.rejected += result.rejected
        if result.reasons:
            self._reasons = self._reasons or _open(self._final_rejected)
            self._reasons.write(result.reasons)
        if result.data and self._is_parquet:
            self._gather(deserialize(result.data))
        else:
            self._file.write(result.data)

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
        """Syncs the output to disk and gives it its final name."""
        if self._parquet:
            self._write_row_group(self._parquet)
            self._parquet.close()
        if self._reasons:
            _publish(self._reasons, self._final_rejected)
        else:
            self._final_rejected.unlink(missing_ok=True)  # left by an earlier run
        _publish(self._file, self.path)

    def close(self) -> None:
        """Closes the files, and removes them unless they were published."""
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


def _entry(input_: InputFile, rows: int, rejected: int) -> ManifestEntry:
    return ManifestEntry(str(input_.output), str(input_.file.path), input_.size, input_.modified_ns, rows, rejected)


def _differences(before: dict[str, str], now: dict[str, str]) -> str:
    """Returns the options that differ, with their values."""
    names = {name: None for name in [*before, *now] if before.get(name) != now.get(name)}
    if ("thresholds" in before) != ("thresholds" in now):
        names.pop("abstained column", None)  # it comes with thresholds
    return "; ".join(
        f"{_OPTIONS.get(name, f'--{name}'.replace(' ', '-'))} {_shown(before, name)}, now {_shown(now, name)}"
        for name in names
    )


def _shown(settings: dict[str, str], name: str) -> str:
    if name not in settings:
        return "none"
    value = settings[name]
    if name == "thresholds":
        value = " ".join(dict.fromkeys(value.split()))  # mostly one for all labels
    return value if len(value) <= _MAX_SHOWN else f"{value[: _MAX_SHOWN - 1]}…"
