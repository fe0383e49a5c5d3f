"""Reading and writing a version folder, `<models>/<name>/<version>/`: a SavedModel, complete by itself.

Folders whose name is not a positive integer are no versions: that is how a version that is being written stays unseen.
"""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path

from textmodel import probes
from textmodel.errors import ModelError
from textmodel.metadata import Metadata
from textmodel.vocabulary import Vocabulary, read_lines
from textmodel.weights import Weights

VOCABULARY_FILE = "vocabulary.txt"
LABELS_FILE = "labels.txt"
PIN_FILE = "pin"
"""Beside the versions of a model: the number of the one that answers, in place of the highest."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_HIDDEN = ".new-"


Fingerprint = tuple[tuple[str, int, int, int], ...]
"""Relative path, size in bytes, time of change in ns and inode of the files in a folder, sorted."""


class VersionFolder:
    """The files of one version. Each is read when first asked for, and raises `ModelError` if it is malformed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def assets(self) -> Path:
        """The files that the graph reads."""
        return self.path / "assets"

    @property
    def assets_extra(self) -> Path:
        """The files beside the graph that a server reads."""
        return self.path / "assets.extra"

    @property
    def report(self) -> Path:
        """The files that a person reads."""
        return self.path / "report"

    @property
    def metadata_file(self) -> Path:
        """Where the metadata is."""
        return self.assets_extra / "metadata.json"

    @property
    def probes_file(self) -> Path:
        """Where the golden probes are."""
        return self.assets_extra / "probes.jsonl"

    @cached_property
    def metadata(self) -> Metadata:
        """What the version says of itself."""
        return Metadata.read(self.metadata_file)

    @cached_property
    def probes(self) -> list[probes.Probe]:
        """The golden probes."""
        return probes.read(self.probes_file)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary. Hashed n-grams have none."""
        vocabulary = Vocabulary.read(self.assets / VOCABULARY_FILE, self.metadata.tokenization)
        if len(vocabulary) != self.metadata.vectorizer.num_words:
            raise ModelError(
                f"{self.assets / VOCABULARY_FILE}: {len(vocabulary)} entries,"
                f" but the metadata says {self.metadata.vectorizer.num_words}"
            )
        return vocabulary

    @cached_property
    def weights(self) -> Weights:
        """The weights, for engines without TensorFlow: raises `UnsupportedError` too, as `Weights.read` does."""
        return Weights.read(self.path, self.metadata)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the classes."""
        path = self.assets / LABELS_FILE
        labels = read_lines(path)
        if len(labels) < 2 or not all(labels) or len(set(labels)) != len(labels):
            raise ModelError(f"{path}: needs two labels or more, one a line, none empty, none twice")
        return tuple(labels)


class NewVersion(VersionFolder):
    """A version that is being written. Set `is_candidate` to keep it, but out of service."""

    is_candidate = False


def versions(model: Path) -> list[int]:
    """Returns the versions of a model's folder, rising. A folder that is not there has none."""
    if not model.is_dir():
        return []
    return sorted(int(entry.name) for entry in model.iterdir() if _VERSION.fullmatch(entry.name) and entry.is_dir())


def fingerprint(path: Path) -> Fingerprint:
    """Returns the fingerprint of all files in a folder.

    Two that differ tell that the files have been changed or exchanged in between. A folder that is not there has none.
    """
    files = []
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder, name)
            with suppress(FileNotFoundError):  # removed in the meantime
                status = file.stat()
                files.append((str(file.relative_to(path)), status.st_size, status.st_mtime_ns, status.st_ino))
    return tuple(sorted(files))


def pinned_version(model: Path) -> int | None:
    """Returns the version that the pin in a model's folder names, None if there is no pin.

    Raises:
        ModelError: the pin is no version number.
        OSError: it cannot be read.
    """
    pin = model / PIN_FILE
    if not pin.exists():
        return None
    content = pin.read_text("utf-8", "replace").strip()
    if not _VERSION.fullmatch(content):
        raise ModelError(f"{pin}: holds {content[:64]!r}: write a version number, or remove the file")
    return int(content)


def served_version(model: Path) -> int | None:
    """Returns the version of a model's folder that a server answers with: the pinned one, else the highest, None if
    there is none.

    Raises:
        ModelError: the pin is no version number.
        OSError: the folder cannot be read.
    """
    found = versions(model)
    if not found:
        return None
    pinned = pinned_version(model)
    return found[-1] if pinned is None else pinned


def is_model_name(name: str) -> bool:
    """Tells whether this can name a model: letters, digits, dot, dash and underscore, the first a letter or digit."""
    return _NAME.fullmatch(name) is not None


@contextmanager
def new_version(models: Path, name: str) -> Iterator[NewVersion]:
    """Gives an empty folder to fill, which becomes the model's next version when the block ends without an error. A
    candidate becomes `candidate-<version>` beside the versions, which no server loads.

    Until then it has a hidden name beside the versions; after an error it is gone, and what a killed process left goes
    when the next one begins. All of it is on the disk before it becomes a version: a power loss leaves no half version.
    `path` of the given folder is the final one afterwards.

    Raises:
        ModelError: the name cannot name a model.
        OSError: the folder cannot be written.
    """
    if not is_model_name(name):
        raise ModelError(
            f"{name!r} cannot name a model: use letters, digits, '.', '-' and '_', a letter or digit first"
        )
    model = models / name
    model.mkdir(parents=True, exist_ok=True)
    with ExitStack() as locks:
        with _locked(model):  # nobody clears the new folder before it is locked
            _clear_abandoned(model)
            folder = NewVersion(Path(tempfile.mkdtemp(prefix=_HIDDEN, dir=model)))
            locks.enter_context(_locked(folder.path))
        try:
            yield folder
            folder.path.chmod(0o755)
            _sync(folder.path)
            folder.path = _publish(folder.path, model, "candidate-" if folder.is_candidate else "")
            _fsync(model)
            _fsync(models)
        except BaseException:
            shutil.rmtree(folder.path, ignore_errors=True)
            with suppress(OSError):  # it holds other versions
                model.rmdir()
            raise


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds a folder's lock around the block. The system lets go of it when the process ends, however it ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a network's file system may have no such locks: then nothing is ever cleared
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _clear_abandoned(model: Path) -> None:
    """Removes what killed processes left: the hidden folders that nobody holds locked."""
    for abandoned in model.glob(f"{_HIDDEN}*"):
        with suppress(OSError):  # published or removed in the meantime
            descriptor = os.open(abandoned, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(abandoned)
            finally:
                os.close(descriptor)


def _sync(path: Path) -> None:
    """Waits until a folder and all that is in it are on the disk."""
    for folder, _, names in os.walk(path, topdown=False):
        for name in names:
            _fsync(Path(folder, name))
        _fsync(Path(folder))


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _publish(temporary: Path, model: Path, prefix: str) -> Path:
    version = max(versions(model), default=0) + 1
    while True:
        final = model / f"{prefix}{version}"
        try:
            return temporary.rename(final)
        except OSError:
            # Another run took this number.
            if not final.exists():
                raise
            version += 1
