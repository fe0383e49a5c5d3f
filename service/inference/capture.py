"""Captures live texts for people to label: JSON Lines with the answers of the version in service and of its shadow.

A file has two kinds of lines: `text`, a text with both answers, and `compared`, the numbers of texts that were compared
and on which the versions disagree. Both kinds of one batch are written to the same file, so that removing a file
removes its texts together with their counts. `training/evaluation/captured.py` reads the files.

A separate thread writes the files, and nothing waits for it. Texts that do not fit into its queue are dropped and
counted.
"""

import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import structlog

from service.errors import StartError
from service.inference.shadow import Compared
from service.telemetry.shadow_metrics import CaptureMetrics

_log = structlog.get_logger()

FILES_PER_WORKER = 8
"""Number of files that a worker's share of the bytes is divided into. The oldest file makes room for a new one."""
QUEUE_BYTES = 1 << 23
"""Maximum size of the lines that wait to be written. It is smaller if a file has less room."""
_INTERVAL = 1.0
"""Seconds between two writes."""
_GLOB = "captured-*.jsonl"

_Versions = tuple[str, int, int]
"""The name of the model, its version in service and its shadow version."""


def make_capture_folder(folder: Path) -> None:
    """Makes the folder of captured texts if it does not exist.

    Raises:
        StartError: the path is a file, or the folder cannot be made or written to.
    """
    if folder.exists() and not folder.is_dir():
        raise StartError(f"--capture {folder}: is a file, not a folder")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"--capture {folder}: cannot make the folder: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StartError(f"--capture {folder}: cannot write there")


class Capture:
    """Writes comparisons to files in a folder. Only the owner can read them.

    Args:
        folder: the folder of the files. It is made if it does not exist.
        share: share of the texts on which the versions agree that is captured too, 0 to 1.
        max_bytes: maximum size of all files in the folder.
        workers: number of processes that write to the folder.
        metrics: counts the texts.

    Raises:
        StartError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, share: float, max_bytes: int, workers: int, metrics: CaptureMetrics) -> None:
        self._folder, self._share, self._metrics = folder, share, metrics
        max_files = FILES_PER_WORKER * workers
        self._file_bytes = max_bytes // max_files
        self._kept_files = max_files - workers  # beside a new file of each worker, which may come at the same time
        # A batch is written to one file with its counts, so a file must have room for all of it.
        self._queue_bytes = min(QUEUE_BYTES, self._file_bytes * 3 // 4)
        make_capture_folder(folder)
        self._changed = threading.Condition()
        self._lines: list[bytes] = []
        self._bytes = 0
        self._counts: dict[_Versions, list[int]] = defaultdict(lambda: [0, 0, 0])
        self._closing = False
        self._failure: str | None = None
        self._path = folder
        self._file: int | None = None
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    def record(self, name: str, version: int, shadow_version: int, compared: Compared) -> None:
        """Queues the texts on which the versions disagree, a share of the others, and the number of all."""
        chosen = ~compared.agrees
        if self._share:
            chosen |= np.random.default_rng().random(len(chosen)) < self._share
        seen = datetime.now(UTC).isoformat(timespec="seconds")
        lines = [
            msgspec.json.encode(
                {
                    "kind": "text",
                    "model": name,
                    "version": version,
                    "shadow_version": shadow_version,
                    "time": seen,
                    "request_id": compared.request_ids[row],
                    "agrees": bool(compared.agrees[row]),
                    "label": compared.labels[row],
                    "probability": round(compared.probabilities[row], 6),
                    "shadow_label": compared.shadow_labels[row],
                    "shadow_probability": round(compared.shadow_probabilities[row], 6),
                    "text": compared.texts[row],
                }
            )
            + b"\n"
            for row in np.flatnonzero(chosen).tolist()
        ]
        with self._changed:
            counts = self._counts[name, version, shadow_version]
            counts[0] += len(compared.texts)
            counts[1] += int((~compared.agrees).sum())
            counts[2] += compared.dropped
            for line in lines:
                if self._bytes + len(line) > self._queue_bytes:
                    self._metrics.dropped["overload"].add()
                else:
                    self._lines.append(line)
                    self._bytes += len(line)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._counts)
                self._changed.wait_for(lambda: self._closing or self._bytes > self._queue_bytes // 2, _INTERVAL)
                lines, self._lines, self._bytes = self._lines, [], 0
                counts, self._counts = dict(self._counts), defaultdict(lambda: [0, 0, 0])
                closing = self._closing
            if counts:
                self._write(lines, [_count_line(versions, *numbers) for versions, numbers in counts.items()])
            if closing:
                break
        self._end_file()

    def _write(self, lines: list[bytes], counts: list[bytes]) -> None:
        """Writes texts and their counts to one file, so that they can only be lost together."""
        try:
            file = self._open(sum(map(len, [*lines, *counts])))
            size = os.fstat(file).st_size
            try:
                _write_all(file, [*counts, *lines])
            except OSError:
                with suppress(OSError):  # the first error is the reason to log
                    os.ftruncate(file, size)  # removes an incomplete line
                raise
        except OSError as error:
            self._metrics.dropped["disk"].add(len(lines))
            if error.strerror != self._failure:
                _log.error("capture failed", folder=str(self._folder), reason=error.strerror)
            self._failure = error.strerror
        else:
            self._metrics.written.add(len(lines))
            self._failure = None

    def _open(self, size: int) -> int:
        """Returns a file with room for this number of bytes: the current one or a new one."""
        if self._file is not None:
            status = os.fstat(self._file)
            if self._is_in_place(status) and status.st_size + size <= self._file_bytes:
                return self._file
        self._end_file()
        self._remove_oldest()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = self._folder / f"captured-{time.time_ns()}-{os.getpid()}.jsonl"
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        return self._file

    def _is_in_place(self, status: os.stat_result) -> bool:
        """Tells whether the open file still has its name.

        Another process may have removed it to make room, or someone may have moved it or its folder.
        """
        try:
            return os.path.samestat(status, self._path.stat())
        except FileNotFoundError:
            return False

    def _end_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _remove_oldest(self) -> None:
        """Makes room for a new file. Sorted names are in the order of time, since they begin with it."""
        files = sorted(self._folder.glob(_GLOB))
        for path in files[: max(0, len(files) - self._kept_files)]:
            path.unlink(missing_ok=True)
            self._metrics.removed_files.add()
            _log.warning("capture: oldest file removed to make room", file=str(path))

    def close(self) -> None:
        """Writes the waiting lines, then ends the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()


def _count_line(versions: _Versions, texts: int, disagreements: int, dropped: int) -> bytes:
    name, version, shadow_version = versions
    line = {
        "kind": "compared",
        "model": name,
        "version": version,
        "shadow_version": shadow_version,
        "texts": texts,
        "disagreements": disagreements,
        "dropped": dropped,
    }
    return msgspec.json.encode(line) + b"\n"


def _write_all(file: int, lines: Iterable[bytes]) -> None:
    content = memoryview(b"".join(lines))
    while content:
        content = content[os.write(file, content) :]
