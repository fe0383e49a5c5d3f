"""The input files of a run, and the output of each."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from textfiles import DEFAULT_OPTIONS, STANDARD_INPUT, Format, InputError, ReadOptions, TextFile, counted
from textfiles.formats import format_of, split_compression

MANIFEST = "manifest.jsonl"
"""A file in the output folder: the settings of the run, then one line for each complete output."""
REJECTED = "rejected"
"""A folder in the output folder: the rejected rows of each output, if there are any."""

_MAX_NAMED = 5
"""Maximum number of skipped files whose names are printed."""


@dataclass(frozen=True)
class Columns:
    """The names of columns, or of keys in JSON Lines.

    Raises:
        InputError: two names are the same.
    """

    text: str = "text"
    label: str = "label"
    probability: str = "probability"
    abstained: str | None = None
    """The column that tells whether the answer abstains. None: abstention was not requested."""

    @property
    def added(self) -> set[str]:
        """The columns that the outputs add."""
        return {self.label, self.probability, *([self.abstained] if self.abstained else [])}

    def __post_init__(self) -> None:
        names = {"text": self.text, "label": self.label, "probability": self.probability}
        if self.abstained:
            names["abstained"] = self.abstained
        if len(set(names.values())) < len(names):
            *first, last = names
            count = "three" if len(names) == 3 else "four"
            raise InputError(f"the columns of {', '.join(first)} and {last} need {count} different names")


@dataclass(frozen=True)
class InputFile:
    """An input file, as it is when the run starts, and its output."""

    file: TextFile
    output: Path
    """Path of the output, relative to the output folder."""
    format: Format
    """Format of the output."""
    size: int
    """Size of the input, in bytes."""
    modified_ns: int
    """Modification time of the input, in nanoseconds."""

    @property
    def compressed(self) -> bool:
        """Whether the output is compressed by gzip. It is if the input is compressed in any way."""
        return bool(self.file.compression) and self.format is not Format.PARQUET

    @property
    def rejected(self) -> Path:
        """Path of the file of rejected rows, relative to the output folder."""
        return Path(REJECTED, f"{self.output}.jsonl")

    @property
    def delimiter(self) -> str:
        """The field separator of a CSV or TSV output: that of an input of the same format."""
        kept = self.format is self.file.format and self.file.delimiter.isascii()  # Arrow writes only ASCII delimiters
        return self.file.delimiter if kept else self.format.delimiter

    @property
    def keeps_json(self) -> bool:
        """Whether each row stays a JSON object and only gets the added keys."""
        return self.file.format is self.format is Format.JSON_LINES


def find_inputs(
    paths: Sequence[Path],
    output: Path,
    format_: Format | None,
    options: ReadOptions = DEFAULT_OPTIONS,
    report: Callable[[str], object] = lambda _: None,
) -> list[InputFile]:
    """Returns the input files. In folders, these are the files whose endings name a format, except hidden files.

    Args:
        paths: files and folders.
        output: the output folder.
        format_: format of the outputs. None: that of the input, or JSON Lines for plain text.
        options: how the files are read. In folders, only the ending of a name states the format.
        report: called with a line about the skipped files in folders, if there are any.

    Raises:
        InputError: a path does not exist or its ending names no format, there is no file at all, two files would have
            the same output, an output would have the name of another file of the run, or the output folder is inside an
            input folder.
    """
    found: dict[Path, InputFile] = {}
    skipped: list[str] = []
    for path in paths:
        if path.is_dir() and output.resolve().is_relative_to(path.resolve()):
            raise InputError(f"{output} is inside the input folder {path}: choose another --output")
        for file in _files(path, options, skipped):
            input_ = _input_file(file, path if path.is_dir() else path.parent, format_)
            if (other := found.setdefault(input_.output, input_)) is not input_:
                raise InputError(
                    f"{other.file.path} and {file.path} would have the same output {output / input_.output}:"
                    " classify them into different folders"
                )
            if (output / input_.output).resolve() == file.path.resolve():
                raise InputError(f"the output of {file.path} would overwrite it: choose another --output")
    own = {Path(MANIFEST), *(input_.rejected for input_ in found.values())}
    for name in sorted(own & found.keys()):
        raise InputError(
            f"the output of {found[name].file.path} would be {output / name}, a file that the command itself writes:"
            " rename the input, or give the other files instead of the folder"
        )
    line = _skipped_line(skipped)
    if not found:
        raise InputError(f"no file with a known ending in {', '.join(map(str, paths))}{line and f': {line}'}")
    if line:
        report(line)
    return list(found.values())


def _skipped_line(skipped: Sequence[str]) -> str:
    more = f" and {len(skipped) - _MAX_NAMED:,} more" if len(skipped) > _MAX_NAMED else ""
    return f"skipped {counted(len(skipped), 'file')}: {', '.join(skipped[:_MAX_NAMED])}{more}" if skipped else ""


def _files(path: Path, options: ReadOptions, skipped: list[str]) -> Iterator[TextFile]:
    """Yields the file at a path, or the files in a folder. Adds the names of skipped files, and why, to `skipped`."""
    if path == STANDARD_INPUT:
        raise InputError("standard input cannot be resumed: give a file")
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if not path.is_dir():
        yield TextFile(path.parent.resolve() / path.name, options)  # a link keeps its name, which has the ending
        return
    for file in sorted(path.resolve().rglob("[!.]*")):
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path.resolve()).parts):
            try:
                yield TextFile(file, replace(options, format=None))
            except InputError as error:
                reason = str(error).removeprefix(f"{file}: ").partition(": ")[0]
                line = f"{file.relative_to(path.resolve())} ({reason})"
                skipped.append(line.encode(errors="backslashreplace").decode())  # the name may not be UTF-8


def _input_file(file: TextFile, root: Path, format_: Format | None) -> InputFile:
    format_ = format_ or (Format.JSON_LINES if file.format is Format.TEXT else file.format)
    name, _ = split_compression(file.path.name)
    stem = Path(name).stem if format_of(name) else name
    compressed = ".gz" if file.compression and format_ is not Format.PARQUET else ""
    output = file.path.with_name(f"{stem}{format_.value}{compressed}")
    status = file.path.stat()
    return InputFile(file, output.relative_to(root.resolve()), format_, status.st_size, status.st_mtime_ns)
