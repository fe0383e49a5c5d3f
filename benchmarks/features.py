"""Measures the accuracy of each choice of features on each data set, on held-out training texts.

It never reads the test sets: the defaults were chosen without them.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from training.classifiers.features import describe
from training.classifiers.selection import Trial, select
from training.data.bad_rows import BadRows
from training.data.keras_datasets import Examples
from training.data.labelled_file import LabelledFile, LabelledFiles
from training.settings import OWN_DATA, PRESETS

SETS = {
    "Korean film reviews": "nsmc-train.jsonl.gz",
    "first names": "field/names-train.jsonl.gz",
    "TREC questions": "field/trec6-train.jsonl.gz",
    "TREC questions, fine": "field/trec50-train.jsonl.gz",
    "sentence polarity": "field/polarity-train.jsonl.gz",
}
_MAX_TEXTS = 4_000
"""Maximum number of texts of each set, chosen at random."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Tries all choices, prints each figure at once, and draws them. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.features", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True, help="folder with the files of the sets")
    parser.add_argument("--plot", type=Path, default=Path("features.png"), help="where the figure goes")
    options = parser.parse_args(arguments)
    found = {}
    for name, file in SETS.items():
        examples, classes = read(options.data_dir / file)
        trials = select(PRESETS[OWN_DATA]["ngram"], examples, classes).trials
        found[name] = best(trials)
        for features, accuracy in found[name].items():
            print(f"{name:22} {features:42} {accuracy:.4f}", flush=True)
    plot(found).savefig(options.plot, dpi=120)
    return 0


def read(path: Path) -> tuple[Examples, int]:
    """Returns texts of a file, and its number of classes."""
    rows = [row for _, row in LabelledFiles([LabelledFile(path)]).rows(BadRows())]
    order = np.random.default_rng(0).permutation(len(rows))[:_MAX_TEXTS]
    texts = [rows[number].text for number in order]
    labels, classes = np.unique([rows[number].label for number in order], return_inverse=True)
    return Examples([np.zeros(1, np.int32)] * len(texts), classes.astype(np.int64), texts), len(labels)


def best(trials: Sequence[Trial]) -> dict[str, float]:
    """Returns the accuracy of each choice of features with its best cost."""
    accuracies: dict[str, float] = defaultdict(float)
    for trial in trials:
        name = describe(trial.settings)
        accuracies[name] = max(accuracies[name], trial.accuracy)
    return dict(accuracies)


def plot(found: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draws the accuracy of each choice, a panel for each set."""
    figure = Figure(figsize=(3 * len(found), 3.2), layout="constrained")
    for axes, (name, accuracies) in zip(figure.subplots(1, len(found), sharey=True), found.items(), strict=True):
        choices = sorted(accuracies)
        values = [accuracies[choice] for choice in choices]
        colors = ["tab:blue" if value == max(values) else "tab:gray" for value in values]
        axes.scatter(values, choices, color=colors, zorder=2)
        axes.set(title=name, xlabel="accuracy")
        axes.grid(alpha=0.3)
    return figure


if __name__ == "__main__":
    sys.exit(main())
