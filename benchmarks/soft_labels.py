"""Measures the benefit of soft labels: few labelled reviews, with and without a teacher's probabilities for others.

The teachers are n-gram models. The reviews without labels are in four parts, and each part gets the probabilities of a
teacher that learned from the other three. So no probability comes from a model that has seen the review. All models are
trained as by the command, the n-gram models on words and pairs of words. Each is tested once, on the test set.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, get_args

import numpy as np
from rich.console import Console

from textmodel import load_engine
from training.data.labelled_file import LabelledFile, LabelledFiles, TrainingFiles
from training.data.soft_labels import NO_SOFT_COLUMNS, PREFIX, SoftColumns
from training.evaluation import markdown
from training.run import Run
from training.settings import OWN_DATA, PRESETS, Preset
from training.train import train

LABELS = ("negative", "positive")
SOFT = SoftColumns({label: PREFIX + label for label in LABELS})
PARTS = 4
"""Number of parts of the teachers' reviews."""
_BATCH_TEXTS = 256

Row = Mapping[str, Any]


class Figures(NamedTuple):
    """The metrics of a model on the test set."""

    preset: str
    learned: str
    """The texts and labels that the model learned from."""
    accuracy: str
    log_loss: str
    calibration_error: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains all models, prints each figure at once, and then a table. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soft_labels", description=__doc__)
    parser.add_argument(
        "--data-dir", type=Path, required=True, help="folder with imdb-train.jsonl.gz, imdb-test.jsonl.gz"
    )
    parser.add_argument("--labelled", type=int, default=1_000, help="reviews with a label (default: %(default)s)")
    parser.add_argument("--pool", type=int, default=20_000, help="reviews without one (default: %(default)s)")
    parser.add_argument(
        "--presets", nargs="+", choices=get_args(Preset), default=["ngram", "dense"], help="of the student"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the choice of reviews (default: %(default)s)")
    options = parser.parse_args(arguments)
    rows = list(_read(options.data_dir / "imdb-train.jsonl.gz"))
    order = np.random.default_rng(options.seed).permutation(len(rows))
    labelled, others = ([rows[at] for at in part] for part in np.split(order, [options.labelled]))
    with TemporaryDirectory() as folder:
        run = _Run(Path(folder), options.data_dir / "imdb-test.jsonl.gz")
        pool = [row for part in run.taught(others) for row in part][: options.pool]
        agreement = np.mean([row["taught"] == row["label"] for row in pool])
        print(f"the teacher is right on {agreement:.4f} of {len(pool):,} reviews", flush=True)
        files: dict[str, list[Row]] = {
            f"{len(labelled):,} labels": [],
            f"the same, and {len(pool):,} soft labels of the teacher": [_without(row, "label") for row in pool],
            f"the same, and {len(pool):,} of the teacher's most probable labels": [
                {"text": row["text"], "label": row["taught"]} for row in pool
            ],
            f"the same, and {len(pool):,} true labels": [{"text": row["text"], "label": row["label"]} for row in pool],
        }
        run.write("labelled", labelled)
        figures = []
        for preset in options.presets:
            for what, more in files.items():
                figures.append(Figures(preset, what, *run.tested(preset, more)))
                print(*figures[-1], sep="  ", flush=True)
    print(markdown.table(("preset", "learned from", "accuracy", "log loss", "calibration error"), figures))
    return 0


def _read(path: Path) -> Iterator[Row]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _without(row: Row, name: str) -> Row:
    return {key: value for key, value in row.items() if key != name}


class _Run:
    """Trains models in a folder.

    Args:
        folder: the folder for all files.
        test: the file of test texts.
    """

    def __init__(self, folder: Path, test: Path) -> None:
        self._folder = folder
        self._test = test

    def write(self, name: str, rows: Iterable[Row]) -> Path:
        """Writes rows to a file, and returns it."""
        path = self._folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    def taught(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Yields parts of rows, each with the probabilities and the label of a teacher that has not learned it."""
        for number in range(PARTS):
            part = rows[number::PARTS]
            learned = self.write(
                "learned", (row for other in range(PARTS) if other != number for row in rows[other::PARTS])
            )
            result = self._train("ngram", [learned], self.write("part", part))
            engine = load_engine(result.folder.path)
            print(f"teacher {number + 1}: accuracy {result.evaluation.accuracy:.4f}", flush=True)
            texts = [row["text"] for row in part]
            probabilities = np.concatenate(
                [
                    engine.classify(texts[first : first + _BATCH_TEXTS]).probabilities
                    for first in range(0, len(texts), _BATCH_TEXTS)
                ]
            )
            yield [
                {
                    **row,
                    **dict(zip(SOFT.probabilities.values(), each, strict=True)),
                    "taught": LABELS[int(np.argmax(each))],
                }
                for row, each in zip(part, probabilities.tolist(), strict=True)
            ]

    def tested(self, preset: Preset, more: Sequence[Row]) -> tuple[str, str, str]:
        """Returns the figures of a student that learned from the labelled reviews and from more rows."""
        paths = [self._folder / "labelled.jsonl", *([self.write("more", more)] if more else [])]
        is_soft = any("label" not in row for row in more)
        evaluation = self._train(preset, paths, self._test, SOFT if is_soft else NO_SOFT_COLUMNS).evaluation
        return (
            f"{evaluation.accuracy:.4f}",
            f"{evaluation.log_loss:.4f}",
            f"{evaluation.expected_calibration_error:.4f}",
        )

    def _train(self, preset: Preset, data: Sequence[Path], test: Path, soft: SoftColumns = NO_SOFT_COLUMNS) -> Run:
        files = TrainingFiles(
            LabelledFiles([LabelledFile(path, soft=soft) for path in data]), LabelledFiles([LabelledFile(test)])
        )
        settings = PRESETS[OWN_DATA][preset]
        if preset == "ngram":
            settings = replace(settings, features="words", max_ngram=2)
        return train(settings, "reviews", files, self._folder / "models", Console(quiet=True))


if __name__ == "__main__":
    sys.exit(main())
