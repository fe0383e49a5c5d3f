"""A small made-up copy of both data sets, in Keras's files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TEXT = (
    "the a of and film oil it was good bad moving dull price crude shares profit don't café σας 3 mln grain wheat trade"
    " bank rate dollar gold ship never again story actor plot music ending barrel market company export"
)
WORDS = _TEXT.split()
"""By falling frequency: the first has rank 1."""
CLASSES = {"imdb": 2, "reuters": 4}
"""How many classes have texts."""


def write_files(folder: Path, texts: int = 60) -> Path:
    """Writes `<name>.npz` and `<name>_word_index.json` of both data sets, and returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    ranks = {word: rank for rank, word in enumerate(WORDS, 1)}
    for name in CLASSES:
        (folder / f"{name}_word_index.json").write_text(json.dumps(ranks))
        save(folder / f"{name}.npz", arrays(name, texts))
    return folder


def save(path: Path, content: dict[str, NDArray[Any]]) -> None:
    """Writes a `.npz`."""
    np.savez(path, **content)  # type: ignore[arg-type]


def arrays(name: str, texts: int = 60) -> dict[str, NDArray[Any]]:
    """Returns the arrays of the data set's `.npz`."""
    random = np.random.default_rng(7)
    if name == "reuters":
        return dict(zip(("x", "y"), _texts(random, texts, CLASSES[name]), strict=True))
    train, test = (_texts(random, texts, CLASSES[name]) for _ in range(2))
    return {"x_train": train[0], "y_train": train[1], "x_test": test[0], "y_test": test[1]}


def _texts(random: np.random.Generator, count: int, classes: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Returns texts of 0 to 19 ranks, more of them from the part of the words that belongs to the class."""
    y = np.arange(count) % classes
    x = np.empty(count, object)
    for row, label in enumerate(y):
        own = random.integers(0, len(WORDS) // classes, row % 10) * classes + label
        x[row] = [*random.integers(1, len(WORDS) + 1, row % 10).tolist(), *(own + 1).tolist()]
    return x, y
