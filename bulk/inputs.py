"""What is to be done: which files are read, and where the rows of each go."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from textfiles import DEFAULT_OPTIONS, STANDARD_INPUT, Format, InputError, ReadOptions, TextFile
from textfiles.formats import format_of, split_compression


@dataclass(frozen=True)
class Columns:
    """The names of columns, or of keys in JSON Lines.

    Raises:
        InputError: two are one.
    """

    text: str = "text"
    label: str = "label"
    probability: str = "probability"

    @property
    def added(self) -> set[str]:
        """The columns that the outputs have and the inputs have not."""
        return {self.label, self.probability}

    def __post_init__(self) -> None:
        if len({self.text, self.label, self.probability}) < 3:
            raise InputError("the columns of text, label and probability need three different names")


@dataclass(frozen=True)
class Job:
    """A file and its output, as they are when the run begins."""

    input: TextFile
    output: Path
    """Relative to the folder of all outputs."""
    format: Format
    """Of the output."""
    size: int
    """Of the input, in bytes."""
    modified_ns: int
    """When the input was changed."""

    @property
    def compressed(self) -> bool:
        """Whether the output is compressed by gzip: if the input is compressed, by whatever."""
        return bool(self.input.compression) and self.format is not Format.PARQUET

    @property
    def delimiter(self) -> str:
        """The field separator of the output, if it is CSV or TSV: the input's if that has the same format."""
        return self.input.delimiter if self.format is self.input.format else self.format.delimiter

    @property
    def keeps_json(self) -> bool:
        """Whether the rows stay the JSON that they are, with two keys more."""
        return self.input.format is self.format is Format.JSON_LINES


def jobs(
    paths: Sequence[Path], output: Path, format_: Format | None, options: ReadOptions = DEFAULT_OPTIONS
) -> list[Job]:
    """Returns a job for each file, and for each file in a folder whose ending names a format, hidden ones left out.

    Args:
        paths: files and folders.
        output: the folder of all outputs.
        format_: of the outputs; None: as the input, JSON Lines for plain text.
        options: how the files are read. In a folder the ending of a name alone says the format.

    Raises:
        InputError: a path is not there or names no format, there is no file at all, two would have the same output, or
            the outputs would lie among the inputs.
    """
    found: dict[Path, Job] = {}
    for path in paths:
        if path.is_dir() and output.resolve().is_relative_to(path.resolve()):
            raise InputError(f"{output} is in {path}, which is read: choose another --output")
        for file in _files(path, options):
            job = _job(file, path if path.is_dir() else path.parent, format_)
            if (other := found.setdefault(job.output, job)) is not job:
                raise InputError(f"{other.input.path} and {job.input.path} would both become {output / job.output}")
            if (output / job.output).resolve() == job.input.path:
                raise InputError(f"{job.input.path} would become its own output: choose another --output")
    if not found:
        raise InputError(f"no file to read in {', '.join(map(str, paths))}")
    return list(found.values())


def _files(path: Path, options: ReadOptions) -> Iterator[TextFile]:
    if path == STANDARD_INPUT:
        raise InputError("standard input cannot be resumed: give a file")
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if not path.is_dir():
        yield TextFile(path.resolve(), options)
        return
    for file in sorted(path.resolve().rglob("[!.]*")):
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path.resolve()).parts):
            try:
                yield TextFile(file, replace(options, format=None))
            except InputError:
                continue  # something else that lies there


def _job(file: TextFile, root: Path, format_: Format | None) -> Job:
    format_ = format_ or (Format.JSON_LINES if file.format is Format.TEXT else file.format)
    name, _ = split_compression(file.path.name)
    stem = Path(name).stem if format_of(name) else name
    compressed = ".gz" if file.compression and format_ is not Format.PARQUET else ""
    output = file.path.with_name(f"{stem}{format_.value}{compressed}")
    status = file.path.stat()
    return Job(file, output.relative_to(root.resolve()), format_, status.st_size, status.st_mtime_ns)
