"""`text-classifier-bulk` beside a plain loop: the same engine, the same texts, from a file of JSON Lines to another."""

import itertools
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import msgspec

from textmodel import Engine, VersionFolder, load_engine

BATCH = 512
"""Texts in a call, as in a chunk of the command."""
COPIES = 20
"""How often the texts are in the input."""


class Speed(NamedTuple):
    """What a way to classify files reaches."""

    way: str
    workers: int
    files: int
    texts_per_second: float
    """From the first tenth on."""
    start_seconds: float
    """Until the first text is classified."""


def measure(version: Path, texts: list[str]) -> Iterator[Speed]:
    """Measures each way in turn."""
    engine = load_engine(version)
    start = perf_counter()
    for at in range(0, len(texts), BATCH):
        engine.classify(texts[at : at + BATCH])
    yield Speed("engine alone, texts in memory", 1, 0, len(texts) / (perf_counter() - start), 0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for files in (1, 4):
            _write(folder / f"{files} files", texts * COPIES, files)
        seconds = _loop(engine, VersionFolder(version).labels, folder / "1 files" / "0.jsonl", folder / "loop.jsonl")
        rows = len(texts) * COPIES
        yield Speed("plain loop, file to file", 1, 1, rows / seconds, 0)
        for workers, files in ((1, 1), (2, 1), (2, 4)):
            start, *_, end = _tenths(version, folder / f"{files} files", folder / f"{workers} {files}", workers)
            tenth = (end - start) / 9
            yield Speed("text-classifier-bulk", workers, files, rows / 10 / tenth, start - tenth)


def _write(folder: Path, texts: Sequence[str], files: int) -> None:
    folder.mkdir(parents=True)
    for number in range(files):
        with (folder / f"{number}.jsonl").open("wb") as lines:
            lines.writelines(msgspec.json.encode({"text": text}) + b"\n" for text in texts[number::files])


def _loop(engine: Engine, labels: Sequence[str], source: Path, target: Path) -> float:
    """Returns the seconds that it takes to read, classify and write, without anything around it."""
    decoder = msgspec.json.Decoder(dict[str, Any])
    start = perf_counter()
    with source.open("rb") as lines, target.open("wb") as output:
        rows = map(decoder.decode, lines)
        for batch in iter(lambda: list(itertools.islice(rows, BATCH)), []):
            probabilities = engine.classify([row["text"] for row in batch]).probabilities
            for row, winner, probability in zip(batch, probabilities.argmax(1), probabilities.max(1), strict=True):
                answer = {"label": labels[winner], "probability": float(probability)}
                output.write(msgspec.json.encode(row | answer) + b"\n")
    return perf_counter() - start


def _tenths(version: Path, inputs: Path, output: Path, workers: int) -> list[float]:
    """Returns the seconds after which the command says that another tenth is done."""
    arguments = ("--model", version, "--output", output, "--workers", workers, inputs)
    start = perf_counter()
    command = [sys.executable, "-u", "-m", "bulk", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        return [perf_counter() - start for line in process.stdout if line.startswith("  read ")]
