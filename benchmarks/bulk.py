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
SIZES = (2, 10)
"""How often the texts are in the input: the difference of two runs has no start in it."""


class Speed(NamedTuple):
    """What a way to classify files reaches."""

    way: str
    workers: int
    files: int
    texts_per_second: float
    """Once it runs."""
    start_seconds: float
    """Until it runs."""


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
            for size in SIZES:
                _write(folder / f"{files} files" / str(size), texts * size, files)
        single = folder / "1 files" / str(SIZES[-1]) / "0.jsonl"
        seconds = _loop(engine, VersionFolder(version).labels, single, folder / "loop.jsonl")
        yield Speed("plain loop, file to file", 1, 1, len(texts) * SIZES[-1] / seconds, 0)
        for workers, files in ((1, 1), (2, 1), (2, 4)):
            small, large = (
                _command(version, folder / f"{files} files" / str(size), folder / f"{workers} {files} {size}", workers)
                for size in SIZES
            )
            second = (large - small) / (SIZES[1] - SIZES[0])  # for the texts once
            yield Speed("text-classifier-bulk", workers, files, len(texts) / second, small - second * SIZES[0])


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


def _command(version: Path, inputs: Path, output: Path, workers: int) -> float:
    """Returns the seconds from start to end of the command."""
    arguments = ("--model", version, "--output", output, "--workers", workers, inputs)
    start = perf_counter()
    subprocess.run([sys.executable, "-m", "bulk", *map(str, arguments)], check=True, capture_output=True)
    return perf_counter() - start
