"""Measures how many wrong labels `check` finds, and the accuracy with texts that `select` chooses.

`python -m benchmarks.labels check` makes 3% of the labels of public data sets wrong and reports precision and recall of
the list. `python -m benchmarks.labels select` plots accuracy over the number of labels, for selected and random texts.
"""

import argparse
import gzip
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from scipy.sparse import csr_array

from textfiles import TextFile
from training.classifiers import features, temperature_scaling
from training.classifiers.ngram import NGramClassifier
from training.classifiers.selection import select
from training.data.bad_rows import BadRows
from training.data.keras_datasets import Examples
from training.data.labelled_file import LabelledFile, LabelledFiles
from training.data.pool import PoolText
from training.data.text_hashes import text_hash
from training.evaluation import label_check
from training.evaluation.acquisition import Candidate, choose, margins
from training.evaluation.figures import png
from training.settings import OWN_DATA, PRESETS

WRONG = 0.03
"""The share of labels that are made wrong."""
CHECKED = ("imdb-train", "reuters")
SELECTED = ("polarity", "trec6")
ROUND = 100
"""Number of labels that are added in each round. The first round has random texts."""
ROUNDS = 15
_SETTINGS = replace(PRESETS[OWN_DATA]["ngram"], features="words", max_ngram=2, buckets=2**18)
"""The settings of the classifiers that measure `select`. Each round chooses the cost. Few buckets make it fast."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one of the two benchmarks, and prints each figure at once. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.labels", description=__doc__)
    parser.add_argument("part", choices=("check", "select"))
    parser.add_argument(
        "--data-dir",
        type=Path,
        required=True,
        help="folder with the sets, objects with the keys text and label: NAME.jsonl.gz for check, NAME-train.jsonl.gz"
        " and NAME-test.jsonl.gz for select",
    )
    parser.add_argument("--sets", nargs="+", metavar="NAME", help="the data sets")
    parser.add_argument("--seeds", type=int, default=5, help="number of runs (default: %(default)s)")
    parser.add_argument("--plot", type=Path, default=Path("labels.png"), help="select: where the curves go")
    options = parser.parse_args(arguments)
    if options.part == "check":
        for name in options.sets or CHECKED:
            _check(name, _read(options.data_dir / f"{name}.jsonl.gz"), options.seeds)
    else:
        curves = {name: _curves(name, options.data_dir, options.seeds) for name in options.sets or SELECTED}
        options.plot.write_bytes(png(_plot(curves)))
    return 0


class BenchmarkText(NamedTuple):
    """A text and its label."""

    text: str
    label: str


def _read(path: Path) -> list[BenchmarkText]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [BenchmarkText(row["text"], str(row["label"])) for row in map(json.loads, lines)]


class Found(NamedTuple):
    """The quality of the list of one run. All figures but `listed` are shares."""

    listed: float
    """Number of rows."""
    precision: float
    recall: float
    without_contradictions: float
    """Precision without the rows that contradict others in the original file, whose labels this benchmark did not
    change.
    """
    first_hundred: float
    """Precision of the first 100 of these rows."""
    label_restored: float
    """Share of the wrong labels that were found for which the original label is suggested."""
    confident_learning: float
    """The precision of the list of confident learning."""
    its_recall: float
    seconds: float


def _check(name: str, rows: Sequence[BenchmarkText], seeds: int) -> None:
    """Prints what each run finds, and the mean."""
    print(f"{name}: {len(rows):,} rows, {round(WRONG * len(rows)):,} labels made wrong")
    print("".join(f"{field.replace('_', ' '):>23}" for field in Found._fields), flush=True)
    found = []
    for seed in range(seeds):
        found.append(_found(rows, seed))
        print(_line(found[-1]), flush=True)
    print(_line(np.mean(found, axis=0)), " mean", flush=True)


def _line(found: Sequence[float] | NDArray[np.float64]) -> str:
    return "".join(f"{value:23,.3f}" for value in found)


def _found(rows: Sequence[BenchmarkText], seed: int) -> Found:
    """Replaces labels at random, by each other label with the same probability, and checks the file."""
    random = np.random.default_rng(seed)
    labels = sorted({row.label for row in rows})
    is_wrong = np.zeros(len(rows), bool)
    is_wrong[random.choice(len(rows), round(WRONG * len(rows)), replace=False)] = True
    given = [
        str(random.choice([label for label in labels if label != row.label])) if wrong else row.label
        for row, wrong in zip(rows, is_wrong, strict=True)
    ]
    console = Console(quiet=True)
    start = perf_counter()
    checked = _labelled_rows(rows, given, console)
    logits = label_check.logits_of(checked, console)
    suspects = label_check.found_in(checked, logits).suspects
    seconds = perf_counter() - start
    listed = np.array([suspect.row.number - 1 for suspect in suspects])
    found = is_wrong[listed]
    restored = np.array([suspect.suggested == rows[suspect.row.number - 1].label for suspect in suspects])
    new = found[found | ~_contradicting(rows)[listed]]
    beside = is_wrong[[checked.rows[at][1].number - 1 for at in _confident_learning(logits, checked.classes)]]
    return Found(
        listed=len(listed),
        precision=found.mean(),
        recall=found.sum() / is_wrong.sum(),
        without_contradictions=new.mean(),
        first_hundred=new[:100].mean(),
        label_restored=restored[found].mean(),
        confident_learning=beside.mean(),
        its_recall=beside.sum() / is_wrong.sum(),
        seconds=seconds,
    )


def _labelled_rows(rows: Sequence[BenchmarkText], labels: Sequence[str], console: Console) -> label_check.LabelledRows:
    """Writes the rows with these labels into a file, and reads it as the command does."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data.jsonl")
        lines = ({"text": row.text, "label": label} for row, label in zip(rows, labels, strict=True))
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        return label_check.read(LabelledFiles([LabelledFile(path)]), BadRows(), console)


def _confident_learning(logits: NDArray[np.float32], classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the rows that confident learning counts off the diagonal of its confident joint: those that belong
    confidently to another class, with a probability of at least the mean of that class's texts (Northcutt et al.).
    """
    temperature, shift = temperature_scaling.fit(logits, classes)
    probabilities = temperature_scaling.probabilities(logits / np.float32(temperature) + np.float32(shift))
    own = probabilities[np.arange(len(classes)), classes]
    count = probabilities.shape[1]
    thresholds = np.bincount(classes, own, count) / np.maximum(np.bincount(classes, minlength=count), 1)
    confident = np.where(probabilities >= thresholds, probabilities, -1)
    return np.flatnonzero((confident.max(axis=1) >= 0) & (confident.argmax(axis=1) != classes))


def _contradicting(rows: Sequence[BenchmarkText]) -> NDArray[np.bool_]:
    """Tells which rows have a text that comes with another label too, (rows,)."""
    labels: dict[int, set[str]] = defaultdict(set)
    hashes = [text_hash(row.text) for row in rows]
    for row, each in zip(rows, hashes, strict=True):
        labels[each].add(row.label)
    return np.array([len(labels[each]) > 1 for each in hashes])


Curve = NDArray[np.float64]
"""(seeds, rounds), the accuracy on the test texts."""


class Task(NamedTuple):
    """A data set, as a pool that is labelled step by step."""

    texts: list[str]
    classes: NDArray[np.int64]
    """(texts,), which a label costs to know."""
    counts: csr_array
    """(texts, features)"""
    test_classes: NDArray[np.int64]
    test_counts: csr_array
    class_count: int


class State(NamedTuple):
    """What a strategy knows when it chooses texts."""

    task: Task
    left: NDArray[np.int64]
    """Positions of the texts without a label."""
    probabilities: NDArray[np.float32]
    """(left, classes), the probabilities of the newest version."""
    before: NDArray[np.float32] | None
    """(left, classes), the probabilities of the version before it, if there is one."""
    random: np.random.Generator


def _by_random(state: State) -> NDArray[np.int64]:
    return state.random.permutation(state.left)[:ROUND]


def _by_margin(state: State) -> NDArray[np.int64]:
    return _lowest(state, margins(state.probabilities))


def _by_disagreement(state: State) -> NDArray[np.int64]:
    """Chooses texts to which the two newest versions give different labels, then random texts."""
    if state.before is None:
        return _by_random(state)
    both = (state.probabilities, state.before)
    differ = both[0].argmax(axis=1) != both[1].argmax(axis=1)
    sureness = np.minimum(*(each.max(axis=1) for each in both))
    chosen = _lowest(state, np.where(differ, -sureness, np.inf))
    others = np.setdiff1d(state.left, chosen)
    return np.concatenate([chosen, state.random.permutation(others)[: ROUND - len(chosen)]])


STRATEGIES: Mapping[str, Callable[[State], NDArray[np.int64]]] = {
    "random": _by_random,
    "margin": _by_margin,
    "disagreement": _by_disagreement,
}


def _lowest(state: State, scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """Chooses the texts with the lowest scores (left,), as the command does. Infinite scores are left out."""
    pool = TextFile(Path("pool.txt"))
    candidates = [
        Candidate(PoolText(state.task.texts[at], pool, int(at)), float(score), [], [])
        for at, score in zip(state.left, scores, strict=True)
        if np.isfinite(score)
    ]
    return np.array([each.text.number for each in choose(candidates, ROUND)], np.int64)


def _curves(name: str, data_dir: Path, seeds: int) -> dict[str, Curve]:
    """Returns the accuracy of each strategy after each round. All begin with the same random texts."""
    rows, test = (_read(data_dir / f"{name}-{part}.jsonl.gz") for part in ("train", "test"))
    labels = sorted({row.label for row in rows})
    texts, test_texts = ([row.text for row in part] for part in (rows, test))
    classes, test_classes = (np.array([labels.index(row.label) for row in part]) for part in (rows, test))
    counts, test_counts = (
        features.count_matrix(features.vectorizer(_SETTINGS), _examples(*part))
        for part in ((texts, classes), (test_texts, test_classes))
    )
    task = Task(texts, classes, counts, test_classes, test_counts, len(labels))
    curves = {}
    for strategy, chooser in STRATEGIES.items():
        curves[strategy] = np.array([_run(task, chooser, seed) for seed in range(seeds)])
        shown = " ".join(f"{accuracy:.4f}" for accuracy in curves[strategy].mean(axis=0))
        print(f"{name:10} {strategy:14} {shown}", flush=True)
    return curves


def _run(task: Task, chooser: Callable[[State], NDArray[np.int64]], seed: int) -> list[float]:
    random = np.random.default_rng(seed)
    labelled = random.permutation(len(task.texts))[:ROUND]
    before: NDArray[np.float32] | None = None
    accuracies = []
    for _ in range(ROUNDS):
        classifier = _trained(task, np.sort(labelled))
        accuracies.append(
            float((_probabilities(classifier, task.test_counts).argmax(axis=1) == task.test_classes).mean())
        )
        left = np.setdiff1d(np.arange(len(task.texts)), labelled)
        found = _probabilities(classifier, task.counts)
        state = State(task, left, found[left], None if before is None else before[left], random)
        labelled, before = np.concatenate([labelled, chooser(state)]), found
    return accuracies


def _trained(task: Task, rows: NDArray[np.int64]) -> NGramClassifier:
    """Trains as the command does, except that the features are fixed."""
    examples = _examples([task.texts[row] for row in rows], task.classes[rows])
    selection = select(_SETTINGS, examples, task.class_count)
    classifier = NGramClassifier(selection.best.settings, task.class_count)
    classifier.fit(examples)
    classifier.calibrate(selection.calibration)
    return classifier


def _probabilities(classifier: NGramClassifier, counts: csr_array) -> NDArray[np.float32]:
    """Returns the result of `classifier.probabilities`, from features that are already counted."""
    kernel = classifier.kernel.astype(np.float32) * (1 if classifier.kernel_scale is None else classifier.kernel_scale)
    return temperature_scaling.probabilities(classifier.weighting.vectors(counts) @ kernel + classifier.bias)


def _examples(texts: list[str], classes: NDArray[np.int64]) -> Examples:
    return Examples([np.empty(0, np.int32)] * len(texts), classes, texts)


def _plot(curves: Mapping[str, Mapping[str, Curve]]) -> Figure:
    """Draws the mean accuracy by labels spent, with a band of one standard deviation."""
    figure = Figure(figsize=(4.8 * len(curves), 4), layout="constrained")
    spent = ROUND * np.arange(1, ROUNDS + 1)
    for axes, (name, strategies) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        for strategy, curve in strategies.items():
            mean, deviation = curve.mean(axis=0), curve.std(axis=0, ddof=min(1, len(curve) - 1))
            axes.plot(spent, mean, label=strategy)
            axes.fill_between(spent, mean - deviation, mean + deviation, alpha=0.2)
        axes.set(title=name, xlabel="labels spent", ylabel="accuracy on test texts")
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
    return figure


if __name__ == "__main__":
    sys.exit(main())
