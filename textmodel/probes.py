"""Golden probes: texts with the probabilities that training computed for them.

An engine classifies them before it serves, and is refused if an answer differs.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from textmodel.engine import Engine
from textmodel.errors import ModelError, ProbeError

TOLERANCE = 1e-5
"""Maximum absolute difference from a probe's probability. Sums of float32 in another order differ by about 1e-6."""


class Probe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text and its probabilities, (classes,), as the network computed them in training."""

    text: str
    probabilities: tuple[float, ...]


def read(path: Path) -> list[Probe]:
    """Reads `probes.jsonl`.

    Raises:
        ModelError: the file is missing or empty, or a line is not a probe.
    """
    try:
        probes = msgspec.json.Decoder(Probe).decode_lines(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: {error}") from error
    if not probes:
        raise ModelError(f"{path}: holds no probe")
    return probes


def write(path: Path, probes: Iterable[Probe]) -> None:
    """Writes `probes.jsonl`, one probe a line."""
    path.write_bytes(msgspec.json.Encoder().encode_lines(probes))


def verify(engine: Engine, probes: Sequence[Probe]) -> None:
    """Checks the engine's answers to the probes, each alone and all together.

    Raises:
        ProbeError: an answer has another number of classes, or differs from the probe by more than `TOLERANCE`.
    """
    texts = [probe.text for probe in probes]
    together = engine.classify(texts).probabilities
    for number, probe in enumerate(probes, 1):
        expected = np.asarray(probe.probabilities)
        for answer in (engine.classify([probe.text]).probabilities[0], together[number - 1]):
            if answer.shape != expected.shape:
                raise ProbeError(f"probe {number}: {len(answer)} probabilities instead of {len(expected)}")
            difference = float(np.max(np.abs(answer - expected)))
            if not difference <= TOLERANCE:
                raise ProbeError(
                    f"probe {number}: the {engine.name} engine is {difference:.1e} off what training computed"
                )
