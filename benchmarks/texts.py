"""The real texts of the benchmarks."""

import gzip
import json
from pathlib import Path

FILES = {"imdb": "imdb-test.jsonl.gz", "reuters": "reuters.jsonl.gz"}


def read(data_dir: Path, model: str, count: int) -> list[str]:
    """Returns `count` different texts of the model's data set, spread evenly over its file, in a fixed order."""
    with gzip.open(data_dir / FILES[model], "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    return texts[:: len(texts) // count][:count]


def batches(texts: list[str], size: int) -> list[list[str]]:
    """Returns the texts in requests of `size`, without an incomplete last one."""
    return [texts[start : start + size] for start in range(0, len(texts) - size + 1, size)]
