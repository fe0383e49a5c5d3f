"""What each choice of the presets brings: accuracy on validation texts, which the network was not fitted on.

The test sets are never read here: settings were chosen without them.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from matplotlib.figure import Figure

from training.classifiers.dense import DenseClassifier, best_epoch
from training.classifiers.selection import select
from training.data import keras_datasets
from training.settings import PRESETS, Settings

PANELS: Mapping[str, Mapping[str, Mapping[str, Sequence[Any]]]] = {
    "imdb": {
        "buckets that n-grams are hashed to": {"buckets": [2**14, 2**16, 2**18, 2**20, 2**22]},
        "words of the longest n-gram": {"max_ngram": [1, 2, 3]},
        "training texts that a feature needs": {"min_df": [1, 2, 3, 5, 10]},
        "word indices": {"num_words": [5_000, 10_000, 20_000, 50_000]},
    },
    "reuters": {
        "words of the longest n-gram": {"max_ngram": [1, 2, 3]},
        "training texts that a feature needs": {"min_df": [1, 2, 3, 5, 10]},
        "word indices": {"num_words": [5_000, 10_000, 20_000]},
        "power of the divergence of classes": {"divergence_power": [0.0, 0.25, 0.5, 0.75, 1.0]},
    },
}
"""What varies, one setting at a time; the others are the preset's."""


class Point(NamedTuple):
    """One fit."""

    value: float
    accuracy: float
    """On held-out texts, after the best epoch or with the best cost."""
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Fits all, prints each figure as it comes, and draws the curves. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.presets", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True, help="folder with Keras's files")
    parser.add_argument("--plot", type=Path, default=Path("presets.png"), help="where the curves go")
    options = parser.parse_args(arguments)
    tf.config.experimental.enable_op_determinism()
    dense: dict[str, Point] = {}
    curves: dict[tuple[str, str], list[Point]] = {}
    for data_set, panels in PANELS.items():
        preset = PRESETS[data_set]
        data = keras_datasets.load(data_set, options.data_dir, preset["dense"].num_words)
        dense[data_set] = _fit(preset["dense"], data, 0)
        _show(data_set, "dense", dense[data_set])
        for title, settings in panels.items():
            ((name, values),) = settings.items()
            curves[data_set, title] = []
            for value in values:
                changed = replace(preset["ngram"], **{name: value})
                data = keras_datasets.load(data_set, options.data_dir, changed.num_words)
                point = _fit(changed, data, value)
                curves[data_set, title].append(point)
                _show(data_set, f"ngram --{name.replace('_', '-')} {value}", point)
    plot(dense, curves, options.plot)
    return 0


def _show(data_set: str, what: str, point: Point) -> None:
    print(
        f"{data_set:8} {what:32} accuracy {point.accuracy:.4f}  {point.seconds:5.1f} s",
        flush=True,
    )


def _fit(settings: Settings, data: keras_datasets.SplitDataset, value: float) -> Point:
    start = perf_counter()
    if settings.preset == "ngram":
        accuracy = select(settings, data.training, len(data.labels)).best.accuracy
    else:
        held_out, others = data.training.split(settings.validation_samples)
        classifier = DenseClassifier(settings, len(data.labels))
        history = classifier.fit(others, settings.epochs, keras.callbacks.Callback(), held_out)
        accuracy = history["val_accuracy"][best_epoch(history) - 1]
    return Point(value, accuracy, perf_counter() - start)


def plot(dense: Mapping[str, Point], curves: Mapping[tuple[str, str], Sequence[Point]], path: Path) -> None:
    """Draws accuracy by each setting into one PNG, `dense` as a line to compare with."""
    columns = max(map(len, PANELS.values()))
    figure = Figure(figsize=(4 * columns, 7), layout="constrained")
    rows = figure.subplots(len(PANELS), columns, sharey="row")
    for row, (data_set, panels) in zip(rows, PANELS.items(), strict=True):
        for axes, title in zip(row, panels, strict=True):
            points = curves[data_set, title]
            axes.plot([f"{point.value:,}" for point in points], [point.accuracy for point in points], "o-")
            axes.axhline(dense[data_set].accuracy, color="grey", linestyle=":", label="the preset dense")
            axes.set_xlabel(title)
            axes.grid(alpha=0.3)
        row[0].set_ylabel(f"{data_set}: accuracy on validation texts")
        row[0].legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
