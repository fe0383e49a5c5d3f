"""Loads a verified engine from a version folder whose files may be damaged or may change meanwhile."""

from typing import Any

from textmodel import Engine, ModelError, VersionFolder, load_engine
from textmodel.errors import ChangedError
from textmodel.names import EngineKind
from textmodel.version_folder import Fingerprint, check_files, fingerprint


def load_version(folder: VersionFolder, files: Fingerprint, kind: EngineKind, log: Any) -> Engine:
    """Loads and verifies a version's engine, and reads the folder's labels and metadata. This blocks.

    Args:
        folder: the version.
        files: the fingerprint of the files. The engine is guaranteed to be loaded from these files.
        kind: the engine to load.
        log: gets a warning if TensorFlow has to run a version because the compiled engine refuses it.

    Raises:
        ModelError: the version cannot be read, is malformed, or changed while it was read.
    """

    def fall_back(reason: ModelError) -> None:
        log.warning("compiled engine refused", reason=str(reason))

    try:
        check_files(files)
        engine = load_engine(folder.path, kind, fall_back)
        _ = folder.labels, folder.metadata  # read now, before the fingerprint is checked again
    except MemoryError as error:
        raise ModelError(f"{folder.path}: too little memory to load it: give the server more, or load less") from error
    except (ModelError, OSError) as error:
        if fingerprint(folder.path) != files:
            raise ChangedError(f"its files changed while they were read: {error}") from error
        if isinstance(error, OSError):
            raise ModelError(f"{error.filename or folder.path}: {error.strerror}") from error
        raise
    if fingerprint(folder.path) != files:
        raise ChangedError("its files changed while they were read")
    return engine


def may_pass(error: ModelError) -> bool:
    """Returns whether the version may load later although none of its files changes.

    So it is with file modes, a disk or a network file system that fails, and too few file descriptors or too little
    memory. A file that appears later changes the fingerprint.
    """
    cause: BaseException | None = error
    while isinstance(cause, ModelError):
        cause = cause.__cause__
    lasting = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
    return isinstance(cause, (OSError, MemoryError)) and not isinstance(cause, lasting)
