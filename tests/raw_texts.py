"""The raw texts behind the real data sets."""

import gzip
import json
from pathlib import Path

import numpy as np


def test_rows(data_dir: Path, name: str) -> tuple[list[str], list[str]]:
    """Returns the texts and labels of a data set's test set, in Keras's order for Reuters, in the file's for
    others.
    """
    file = data_dir / {"reuters": "reuters.jsonl.gz"}.get(name, f"{name}-test.jsonl.gz")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    if name == "reuters":  # shuffled with seed 113, the last fifth is the test set
        order = np.random.RandomState(113).permutation(len(rows))
        rows = [rows[index] for index in order[int(len(rows) * 0.8) :]]
    assert len(rows) == {"imdb": 25_000, "reuters": 2_246, "nsmc": 50_000}[name]
    return [row["text"] for row in rows], [row["label"] for row in rows]
