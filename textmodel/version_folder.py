"""Reads and writes a version folder, `<models>/<name>/<version>/`: a self-contained SavedModel.

The name of a version folder is a positive int64. Leading zeros are allowed, as in TensorFlow Serving: `000123` is
version 123. A version that is being written has another name, so no reader sees it.
"""

import codecs
import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import get_args

from textmodel import digests, probes
from textmodel.errors import ModelError
from textmodel.metadata import Metadata, TiedFile
from textmodel.names import MAX_VERSION, is_model_name, version_number
from textmodel.vocabulary import Vocabulary, read_lines
from textmodel.weights import Weights

VOCABULARY_FILE = "vocabulary.txt"
LABELS_FILE = "labels.txt"
PIN_FILE = "pin"
"""A file in the folder of a model. It names the version in service, instead of the highest."""
SHADOW_FILE = "shadow"
"""A file in the folder of a model. It names the version that is only compared with the version in service."""

_VERSION_LIKE = re.compile(r"[vV]?[+-]?\d.*", re.DOTALL)
_HIDDEN = ".new-"

MAX_FILES = 10_000
"""Maximum number of files and folders in a version. A link to `/` must not make a server scan the whole disk."""

Fingerprint = tuple[tuple[str, int, int, int], ...]
"""Relative path, size in bytes, modification time in ns and inode of each file in a folder, sorted. An entry that
cannot be read has a negative error number instead of its size."""


class VersionFolder:
    """The files of one version. Each is read on first access, and raises `ModelError` if it is malformed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def assets(self) -> Path:
        """The folder of the files that the graph reads."""
        return self.path / "assets"

    @property
    def assets_extra(self) -> Path:
        """The folder of the other files that a server reads."""
        return self.path / "assets.extra"

    @property
    def report(self) -> Path:
        """The folder of the report, for people."""
        return self.path / "report"

    @property
    def metadata_file(self) -> Path:
        """The path of the metadata."""
        return self.assets_extra / "metadata.json"

    @property
    def probes_file(self) -> Path:
        """The path of the golden probes."""
        return self.assets_extra / "probes.jsonl"

    @cached_property
    def metadata(self) -> Metadata:
        """The metadata."""
        return Metadata.read(self.metadata_file)

    @cached_property
    def probes(self) -> list[probes.Probe]:
        """The golden probes."""
        return probes.read(self.probes_file)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary. A version with hashed n-grams has none."""
        vocabulary = Vocabulary.read(self.assets / VOCABULARY_FILE, self.metadata.tokenization)
        if len(vocabulary) != self.metadata.vectorizer.num_words:
            raise ModelError(
                f"{self.assets / VOCABULARY_FILE}: {len(vocabulary)} entries,"
                f" but the metadata says {self.metadata.vectorizer.num_words}"
            )
        return vocabulary

    @cached_property
    def weights(self) -> Weights:
        """The weights, for engines without TensorFlow. It may raise `UnsupportedError`: see `Weights.read`."""
        return Weights.read(self.path, self.metadata)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the classes."""
        path = self.assets / LABELS_FILE
        labels = read_lines(path)
        if len(labels) < 2 or not all(labels) or len(set(labels)) != len(labels):
            raise ModelError(f"{path}: needs two labels or more, one a line, without empty or repeated ones")
        return tuple(labels)

    def sha256(self) -> dict[TiedFile, str]:
        """Returns the digests of the files, for the metadata. The metadata must be written after these files."""
        return {name: digests.of_file(self.path / name) for name in get_args(TiedFile) if (self.path / name).exists()}

    def check_sha256(self) -> None:
        """Checks that the files were written together with the metadata.

        Read the metadata first, then the files, and call this last: so it detects files that were replaced meanwhile.

        Raises:
            ModelError: a file is missing, or it has another digest.
        """
        for name, expected in self.metadata.sha256.items():
            if digests.of_file(self.path / name) != expected:
                raise ModelError(
                    f"{self.path / name}: was not written together with {self.metadata_file.name}: copy the whole"
                    " version again, or train it again; if you changed the file on purpose, put its SHA-256 into"
                    f" {self.metadata_file.name}"
                )


class NewVersion(VersionFolder):
    """A version that is being written. If `is_candidate` is set, it is kept out of service."""

    is_candidate = False


def scan_model(model: Path) -> tuple[dict[int, Path], dict[str, str]]:
    """Returns the version folders of a model by version, in ascending order. Also returns the names that look like
    versions but are not, each with the reason: `v1`, `1.0`, `0`, a file or dangling link `2`, and `007` if there is
    `7`. Both are empty if the folder does not exist.

    Raises:
        OSError: the model's folder cannot be read.
    """
    try:
        names = sorted((entry.name for entry in model.iterdir()), key=lambda name: (-len(name), name))
    except (FileNotFoundError, NotADirectoryError):
        return {}, {}
    # Of two names of one version, the shorter one is used: it comes last.
    found = {number: model / name for name in names if (number := version_number(name)) and (model / name).is_dir()}
    used = {path.name for path in found.values()}
    ignored = sorted(name for name in names if name not in used and _VERSION_LIKE.fullmatch(name))
    return dict(sorted(found.items())), {name: _why_no_version(model / name, found) for name in ignored}


def _why_no_version(path: Path, found: Mapping[int, Path]) -> str:
    """Returns why an entry whose name looks like a version is not one of the versions that were found."""
    number = version_number(path.name)
    if number is None:
        return f"a version's name is a whole number from 1 to {MAX_VERSION}, in digits alone"
    if number in found:
        return f"version {number} is the folder {found[number].name}: rename or remove one of the two"
    return "a dangling link" if path.is_symlink() and not path.exists() else "not a folder"


def versions(model: Path) -> list[int]:
    """Returns the versions in a model's folder, in ascending order; none if the folder does not exist.

    Raises:
        OSError: the model's folder cannot be read.
    """
    return list(scan_model(model)[0])


def version_path(model: Path, number: int) -> Path:
    """Returns the folder of a version, or the folder that it would have if it does not exist.

    Raises:
        OSError: the model's folder cannot be read.
    """
    return scan_model(model)[0].get(number, model / str(number))


def fingerprint(path: Path) -> Fingerprint:
    """Returns the fingerprint of all files in a folder. Follows links, and visits each folder once.

    Different fingerprints mean that files were changed or replaced. The fingerprint of a missing folder is empty. It
    raises no error: an unreadable file or folder has an entry of its own.
    """
    return tuple(sorted(_walk(path)))


def _walk(path: Path) -> Iterator[tuple[str, int, int, int]]:
    pending, visited, seen = [""], set(), 0
    while pending:
        folder = pending.pop()
        try:
            status = (path / folder).stat()
            names = os.listdir(path / folder)  # noqa: PTH208, Paths cost more than the system calls
        except OSError as error:
            if folder or not isinstance(error, FileNotFoundError):
                yield folder, -(error.errno or errno.EIO), 0, 0
            continue
        if (status.st_dev, status.st_ino) in visited:  # reached by two links, or by a link inside itself
            continue
        visited.add((status.st_dev, status.st_ino))
        seen += len(names)
        if seen > MAX_FILES:
            yield folder, -errno.E2BIG, 0, 0
            return
        for name in names:
            entry = os.path.join(folder, name)  # noqa: PTH118
            try:
                status = os.stat(path / entry)  # noqa: PTH116
            except OSError as error:  # removed meanwhile, a dangling link, a link to itself, or no permission
                yield entry, -(error.errno or errno.EIO), 0, 0
                continue
            if stat.S_ISDIR(status.st_mode):
                pending.append(entry)
            else:
                size = status.st_size if stat.S_ISREG(status.st_mode) else -errno.EINVAL
                yield entry, size, status.st_mtime_ns, status.st_ino


def check_files(files: Fingerprint) -> None:
    """Checks that no file of a version can block or exhaust its reader.

    Raises:
        ModelError: a file is a FIFO, a socket or a device, or there are too many files.
    """
    for name, size, _, _ in files:
        if size == -errno.EINVAL:
            raise ModelError(f"{name}: is not a regular file")
        if size == -errno.E2BIG:
            raise ModelError(f"{name or 'the version folder'}: more than {MAX_FILES} files; is a link wrong?")


def pinned_version(model: Path) -> int | None:
    """Returns the version that the pin in a model's folder names; None if there is no pin.

    Raises:
        ModelError: the pin is not a version number.
        OSError: the pin cannot be read.
    """
    return _named_version(model / PIN_FILE)


def shadow_version(model: Path) -> int | None:
    """Returns the version that the shadow file in a model's folder names; None if there is no such file.

    Raises:
        ModelError: the file is not a version number.
        OSError: the file cannot be read.
    """
    return _named_version(model / SHADOW_FILE)


def _named_version(file: Path) -> int | None:
    try:
        content = _text(_read_start(file)).strip()
    except FileNotFoundError:
        if file.is_symlink():  # unlike a missing file, it must not undo a rollback
            raise ModelError(
                f"{file}: is a link to a file that does not exist: write a version number, or remove it"
            ) from None
        return None
    number = version_number(content)
    if number is None:
        raise ModelError(f"{file}: {content[:64]!r} is not a version: write a version number, or remove the file")
    return number


def _text(content: bytes) -> str:
    """Decodes UTF-8, or UTF-8 or UTF-16 with a byte order mark, as editors and shells of Windows write it."""
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_utf16 else "utf-8-sig", errors="replace")


def _read_start(path: Path) -> bytes:
    """Reads the first 1,024 bytes of a file.

    Raises:
        ModelError: the path is not a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a FIFO would wait for a writer
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ModelError(f"{path}: is not a regular file: write a version number, or remove it")
        return os.read(descriptor, 1024)
    finally:
        os.close(descriptor)


def served_version(model: Path) -> int | None:
    """Returns the version of a model that a server puts into service: the pinned version, otherwise the highest that is
    not a shadow, or the only one; None if there is none.

    Raises:
        ModelError: the pin or the shadow file is not a version number.
        OSError: the folder cannot be read.
    """
    found = versions(model)
    if not found:
        return None
    pinned, shadow = pinned_version(model), shadow_version(model)
    return max((number for number in found if number != shadow), default=max(found)) if pinned is None else pinned


def promote_version(model: Path, number: int) -> Path:
    """Puts a version into service: pins it, then removes the shadow file that names it. Returns the path of the pin.

    The pin is replaced atomically: a server never reads a part of the number.

    Raises:
        OSError: the model's folder cannot be written to.
    """
    pin = model / PIN_FILE
    with tempfile.NamedTemporaryFile("w", prefix=".pin-", dir=model, delete=False) as file:
        try:
            file.write(f"{number}\n")
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
            Path(file.name).rename(pin)
        finally:
            Path(file.name).unlink(missing_ok=True)
    with suppress(ModelError):
        if shadow_version(model) == number:
            (model / SHADOW_FILE).unlink(missing_ok=True)
    return pin


@contextmanager
def new_version(models: Path, name: str) -> Iterator[NewVersion]:
    """Yields an empty folder to fill, which becomes the model's next version when the block ends without an error. A
    candidate becomes `candidate-<version>`, which no server loads.

    During the block the folder has a hidden name. After an error it is removed; the folder of a killed process is
    removed by the next call. All files are synced to disk before the folder is renamed, so a power loss leaves no
    incomplete version. Afterwards, `path` of the yielded object is the final path.

    Raises:
        ModelError: the model's name is invalid.
        OSError: the folder cannot be written.
    """
    if not is_model_name(name):
        raise ModelError(
            f"{name!r} cannot name a model: use letters, digits, '.', '-' and '_', a letter or digit first"
        )
    model = models / name
    made = [folder for folder in (model, *model.parents) if not folder.exists()]
    model.mkdir(parents=True, exist_ok=True)
    with ExitStack() as locks:
        with _locked(model):  # no other process removes the new folder before it is locked
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
            with suppress(OSError):  # there are other versions
                for empty in made or [model]:
                    empty.rmdir()
            raise


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds a folder's lock during the block. The system releases it when the process ends, for whatever reason."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # without locks, as on some network file systems, nothing is removed
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _clear_abandoned(model: Path) -> None:
    """Removes the hidden folders of killed processes: those that are not locked."""
    for abandoned in model.glob(f"{_HIDDEN}*"):
        with suppress(OSError):  # published or removed in the meantime
            descriptor = os.open(abandoned, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(abandoned)
            finally:
                os.close(descriptor)


def _sync(path: Path) -> None:
    """Waits until a folder and its contents are on disk."""
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
        if version > MAX_VERSION:
            raise ModelError(f"{model}: version {MAX_VERSION} is the largest; remove or rename it to add another")
        final = model / f"{prefix}{version}"
        try:
            return temporary.rename(final)
        except OSError:
            # Another process has taken this number.
            if not final.exists():
                raise
            version += 1
