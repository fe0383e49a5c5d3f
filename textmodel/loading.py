"""From a version folder to an engine that has shown that it answers as training did."""

from pathlib import Path

from textmodel import probes
from textmodel.engine import Engine
from textmodel.errors import ModelError
from textmodel.version_folder import VersionFolder


def load_engine(path: Path | str) -> Engine:
    """Loads the version folder's engine and verifies it with the golden probes.

    Raises:
        ModelError: a file is missing or malformed, or the engine answers a probe differently.
    """
    # TensorFlow takes seconds to import: only who loads a model pays.
    from textmodel.tensorflow_engine import TensorFlowEngine  # noqa: PLC0415

    folder = VersionFolder(Path(path))
    if not folder.path.is_dir():
        raise ModelError(f"{path}: no such version folder")
    classes, expected = len(folder.labels), len(folder.probes[0].probabilities)
    if classes != expected:
        raise ModelError(f"{path}: {classes} labels, but the probes have {expected} probabilities")
    engine = TensorFlowEngine(folder.path)
    probes.verify(engine, folder.probes)
    return engine
