"""`text-classifier-bulk` compared with a plain loop: the same engine and texts, JSON Lines to JSON Lines."""

import itertools
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple

import msgspec

from benchmarks.processes import cpu_seconds
from textmodel import Engine, VersionFolder, load_engine

BATCH = 512
"""Number of texts in a call."""
COPIES = 20
"""Number of copies of the texts in the input."""


class Speed(NamedTuple):
    """The speed of one way to classify files."""

    way: str
    workers: int
    files: int
    texts_per_second: float
    """Measured from the first tenth on."""
    cpu_us_per_text: float
    """CPU time of all processes, in microseconds, from the first tenth on."""
    start_seconds: float
    """Time until the first text is classified."""
    seconds: float
    """Total time."""


def measure(version: Path, texts: list[str]) -> Iterator[Speed]:
    """Measures each way, one after another."""
    engine = load_engine(version)
    rows = len(texts) * COPIES
    alone = _timed(lambda: [engine.classify(texts[at : at + BATCH]) for at in range(0, len(texts), BATCH)])
    yield _steady("engine alone, texts in memory", 0, len(texts), *alone)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for files in (1, 4):
            _write(folder / f"{files} files", texts * COPIES, files)
        labels = VersionFolder(version).labels
        source, target = folder / "1 files" / "0.jsonl", folder / "loop.jsonl"
        yield _steady("plain loop, file to file", 1, rows, *_timed(lambda: _loop(engine, labels, source, target)))
        for workers, files in ((1, 1), (1, 4), (2, 4)):
            yield _command(version, folder / f"{files} files", folder / f"{workers} {files}", workers, rows)


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Returns the wall time and CPU time of a call, in seconds."""
    start, cpu = perf_counter(), process_time()
    work()
    return perf_counter() - start, process_time() - cpu


def _steady(way: str, files: int, rows: int, seconds: float, cpu: float) -> Speed:
    return Speed(way, 1, files, rows / seconds, cpu / rows * 1e6, 0, seconds)


def _write(folder: Path, texts: Sequence[str], files: int) -> None:
    folder.mkdir(parents=True)
    for number in range(files):
        with (folder / f"{number}.jsonl").open("wb") as lines:
            lines.writelines(msgspec.json.encode({"text": text}) + b"\n" for text in texts[number::files])


def _loop(engine: Engine, labels: Sequence[str], source: Path, target: Path) -> None:
    """Reads, classifies and writes in a plain loop."""
    decoder = msgspec.json.Decoder(dict[str, Any])
    with source.open("rb") as lines, target.open("wb") as output:
        rows = map(decoder.decode, lines)
        for batch in iter(lambda: list(itertools.islice(rows, BATCH)), []):
            probabilities = engine.classify([row["text"] for row in batch]).probabilities
            for row, winner, probability in zip(batch, probabilities.argmax(1), probabilities.max(1), strict=True):
                answer = {"label": labels[winner], "probability": float(probability)}
                output.write(msgspec.json.encode(row | answer) + b"\n")


def _command(version: Path, inputs: Path, output: Path, workers: int, rows: int) -> Speed:
    """Runs the command, which prints a line for each tenth."""
    arguments = ("--model", version, "--output", output, "--workers", workers, inputs)
    begin = perf_counter()
    command = [sys.executable, "-u", "-m", "bulk", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        tenths = [
            (perf_counter() - begin, cpu_seconds(process.pid)) for line in process.stdout if line.startswith("  read ")
        ]
    (start, start_cpu), *_, (end, end_cpu) = tenths
    most = rows * 0.9
    rate, cpu = most / (end - start), (end_cpu - start_cpu) / most * 1e6
    seconds = perf_counter() - begin
    files = len(list(inputs.iterdir()))
    return Speed("text-classifier-bulk", workers, files, rate, cpu, start - (end - start) / 9, seconds)
