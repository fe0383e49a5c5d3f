"""Loads the engine of a version folder and verifies its answers."""

import os
from collections.abc import Callable
from pathlib import Path

from textmodel import probes, signature
from textmodel.engine import Engine
from textmodel.errors import MissingError, ModelError, UnsupportedError
from textmodel.extras import how_to_install
from textmodel.metadata import PaddedSequence
from textmodel.names import EngineKind
from textmodel.standard_error import stderr_hidden
from textmodel.version_folder import VersionFolder


def load_engine(
    path: Path | str, kind: EngineKind = "auto", on_fallback: Callable[[ModelError], object] = lambda reason: None
) -> Engine:
    """Loads the engine of a version folder. Verifies that the files belong together, and that the engine answers the
    golden probes as training did.

    Args:
        path: the version folder.
        kind: "auto" takes the compiled engine for a model over words or n-grams, and TensorFlow for all others. It
            falls back to TensorFlow if the compiled engine is not installed or cannot run the version. The engine's
            `name` says which one was taken.
        on_fallback: called with the reason for a fallback.

    Raises:
        ModelError: a file is missing, malformed or of another version; the engine answers a probe differently; or the
            requested engine cannot run the version.
    """
    folder = VersionFolder(Path(path))
    if not folder.path.is_dir():
        raise MissingError(f"{path}: no such version folder")
    classes, expected = len(folder.labels), len(folder.probes[0].probabilities)
    if classes != expected:
        raise ModelError(f"{path}: {classes} labels, but the probes have {expected} probabilities")
    abstention = folder.metadata.abstention  # before the other files: see `check_sha256`
    if abstention and len(abstention.thresholds) != classes:
        raise ModelError(f"{path}: {classes} labels, but the metadata have {len(abstention.thresholds)} thresholds")
    signature.check(folder.path)
    if kind == "compiled":
        return _compiled(folder)
    why = f"{folder.path} needs TensorFlow, which"
    if kind == "auto" and not isinstance(folder.metadata.vectorizer, PaddedSequence):
        try:
            return _compiled(folder)
        except UnsupportedError as reason:
            why = f"{reason}, and TensorFlow"
            on_fallback(reason)
    return _tensorflow(folder, why)


def _compiled(folder: VersionFolder) -> Engine:
    try:
        from textmodel.compiled_engine import CompiledEngine  # noqa: PLC0415 - it may not be installed
    except ImportError as error:
        raise UnsupportedError(f"this installation has no compiled engine: {error}") from error
    return _verified(CompiledEngine(folder), folder)


def _tensorflow(folder: VersionFolder, why: str) -> Engine:
    """Loads the TensorFlow engine. If TensorFlow is not installed, the error begins with `why`."""
    # TensorFlow reads this at import. It hides messages for TensorFlow's developers; failures are raised all the same.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with stderr_hidden():
            from textmodel.tensorflow_engine import TensorFlowEngine  # noqa: PLC0415 - slow to import, and optional
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        raise ModelError(f"{why} is not installed: {how_to_install('tensorflow')}") from error
    return _verified(TensorFlowEngine(folder.path), folder)


def _verified(engine: Engine, folder: VersionFolder) -> Engine:
    folder.check_sha256()
    probes.verify(engine, folder.probes)
    return engine
