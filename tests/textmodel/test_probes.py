from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from textmodel import ModelError, Prediction, probes
from textmodel.probes import Probe

PROBES = [Probe("a\u2028b \0\n😀", (0.25, 0.75)), Probe("", (0.5, 0.5))]


class Recited:
    """An engine that answers with what it was given."""

    name = "recited"
    inline_bytes = 0

    def __init__(self, answers: Mapping[str, Sequence[float]], off_when_together: float = 0) -> None:
        self._answers = answers
        self._off = off_when_together

    def classify(self, texts: Sequence[str]) -> Prediction:
        rows = np.array([self._answers[text] for text in texts], np.float32) + self._off * (len(texts) > 1)
        return Prediction(rows, np.zeros(len(texts), np.int32), np.zeros(len(texts), np.int32))


def test_written_probes_read_the_same(tmp_path: Path) -> None:
    probes.write(tmp_path / "probes.jsonl", PROBES)
    assert probes.read(tmp_path / "probes.jsonl") == PROBES


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        (b"", "no probe"),
        (b"\n", "no probe"),
        (b"nonsense\n", "malformed"),
        (b'{"text": "a"}\n', "probabilities"),
        (b'{"text": 1, "probabilities": [1]}\n', "$[0].text"),
        (b'{"text": "a", "probabilities": [null]}\n', "probabilities"),
        (b'{"text": "a", "probabilities": [1], "more": 1}\n', "more"),
        (b'{"text": "\xff", "probabilities": [1]}\n', "probes.jsonl"),
    ],
)
def test_malformed_probes_are_refused_with_their_file(content: bytes | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "probes.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"probes\.jsonl") as error:
        probes.read(path)
    assert says in str(error.value)


def test_an_engine_within_the_tolerance_is_accepted() -> None:
    answers = {probe.text: [value + 0.9e-5 for value in probe.probabilities] for probe in PROBES}
    probes.verify(Recited(answers), PROBES)


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        (Recited({PROBES[0].text: (0.25, 0.75), "": (0.5, 0.5 + 1.1e-5)}), "probe 2: the recited engine is"),
        (Recited({PROBES[0].text: (0.25, 0.75), "": (0.5, float("nan"))}), "probe 2"),
        (Recited({PROBES[0].text: (0.25, 0.75), "": (0.5, 0.5)}, off_when_together=1.1e-5), "probe 1"),
        (Recited({PROBES[0].text: (0.2, 0.7, 0.1), "": (0.5, 0.5, 0)}), "3 probabilities instead of 2"),
    ],
)
def test_an_engine_that_answers_a_probe_otherwise_is_refused(engine: Recited, says: str) -> None:
    with pytest.raises(ModelError) as error:
        probes.verify(engine, PROBES)
    assert says in str(error.value)
