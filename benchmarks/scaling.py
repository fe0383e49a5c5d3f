"""Measures how the cost of an engine grows with the length of a text, the texts in a call, and the classes."""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
from matplotlib.figure import Figure

from benchmarks import engines
from benchmarks.texts import batches
from textmodel import Engine, VersionFolder
from textmodel.compiled_engine import CompiledEngine
from textmodel.tensorflow_engine import TensorFlowEngine
from training.classifiers.dense import DenseClassifier
from training.export import export
from training.settings import PRESETS

WORDS = (10, 100, 1_000, 10_000, 100_000)
TEXTS = (1, 4, 16, 64, 256, 1_024)
CLASSES = (2, 46, 1_000)
TEXTS_WITH_CLASSES = 64
"""Number of texts in a call when the number of classes varies."""
CALLS_A_ROUND = 100
"""Maximum number of calls in a round."""

Curve = list[tuple[int, float]]
"""Microseconds of wall time per text, by the varied value."""
Results = dict[str, dict[str, Curve]]
"""The varied value ("words", "texts" or "classes"), engine, curve."""

_PANELS = {
    "words": ("Longer texts, one in a call", "words in a text"),
    "texts": ("More texts in a call", "reviews in a call"),
    "classes": (f"More classes, {TEXTS_WITH_CLASSES} reviews in a call", "classes of the network"),
}


def measure(folder: VersionFolder, texts: Sequence[str]) -> Results:
    """Measures both engines with real texts.

    Args:
        folder: a bag-of-words version. Its network is measured with varied lengths and calls, its vocabulary always
        used. texts: 2,048 or more different texts, for the two largest calls.
    """
    shipped = _engines(folder)
    calls = _calls(texts, TEXTS_WITH_CLASSES)
    with tempfile.TemporaryDirectory() as temporary:
        return {
            "words": _curves((words, shipped, _of_length(texts, words)) for words in WORDS),
            "texts": _curves((count, shipped, _calls(texts, count)) for count in TEXTS),
            "classes": _curves(
                (classes, _engines(_untrained(folder, classes, Path(temporary, str(classes)))), calls)
                for classes in CLASSES
            ),
        }


def plot(results: Mapping[str, Mapping[str, Curve]], path: Path) -> None:
    """Plots the results into one PNG, one panel for each varied value."""
    figure = Figure(figsize=(14, 4.5), layout="constrained")
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    for axes, (name, (title, label)) in zip(panels, _PANELS.items(), strict=True):
        for engine, curve in results[name].items():
            sizes, microseconds = zip(*curve, strict=True)
            axes.loglog(sizes, microseconds, "o-", label=f"{engine} engine")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.set(title=title, xlabel=label)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("microseconds a text")
    panels[0].legend()
    figure.savefig(path, dpi=150)


def _engines(folder: VersionFolder) -> tuple[Engine, ...]:
    return CompiledEngine(folder), TensorFlowEngine(folder.path)


def _curves(points: Iterable[tuple[int, tuple[Engine, ...], list[list[str]]]]) -> dict[str, Curve]:
    curves: dict[str, Curve] = {}
    for size, both, calls in points:
        for engine in both:
            curves.setdefault(engine.name, []).append((size, engines.cost(engine, calls).wall))
    return curves


def _of_length(texts: Sequence[str], words: int) -> list[list[str]]:
    """Returns calls with one text each: joined reviews, cut after this number of words."""
    joined = " ".join(texts).split()
    calls = min(CALLS_A_ROUND, len(joined) // words)
    return [[" ".join(joined[start : start + words])] for start in range(0, calls * words, words)]


def _calls(texts: Sequence[str], count: int) -> list[list[str]]:
    return batches(list(texts), count)[:CALLS_A_ROUND]


def _untrained(folder: VersionFolder, classes: int, path: Path) -> VersionFolder:
    """Writes a version with initial weights, as training would export it for this number of classes."""
    classifier = DenseClassifier(replace(PRESETS["reuters"]["dense"], num_words=len(folder.vocabulary)), classes)
    export(classifier, folder.vocabulary, [str(label) for label in range(classes)], path)
    untrained = VersionFolder(path)
    described = msgspec.structs.replace(folder.metadata, network=classifier.layers, sha256=untrained.sha256())
    described.write(untrained.metadata_file)
    return untrained
