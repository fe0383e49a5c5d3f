"""The common parts of the commands that read files: their parser, the options for files, and error messages."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NoReturn

from textfiles.formats import Format

if TYPE_CHECKING:
    from textfiles.text_file import ReadOptions

_QUOTING = ("standard", "none")


class Parser(argparse.ArgumentParser):
    """Reports wrong options in one line, and has `--version`. The first word of `prog` is the program."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if " " not in self.prog:  # subcommands may use `--version` for something else
            self.add_argument("--version", action="version", version=f"text-classifier {version('text-classifier')}")

    def error(self, message: str) -> NoReturn:
        """Ends the program with status 2."""
        self.exit(fail(self.prog.partition(" ")[0], 2, f"error: {message}: see {self.prog} --help"))


def fail(program: str, status: int, message: str, details: Sequence[str] = ()) -> int:
    """Prints an error to standard error, and returns the exit status.

    Args:
        program: the name of the program.
        status: the exit status.
        message: the message; line breaks in it become spaces.
        details: further lines, printed below the message.
    """
    print(f"{program}: {_one_line(message)}", *map(_one_line, details), sep="\n  ", file=sys.stderr)
    return status


def _one_line(text: str) -> str:
    return " ".join(text.split())


def add_read_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say how files are read. Pass the parsed options to `read_options`."""
    group = parser.add_argument_group("input files")
    group.add_argument(
        "--input-format",
        choices=[each.value[1:] for each in Format],
        help="format of the input (default: by the ending of the name)",
    )
    group.add_argument(
        "--encoding",
        metavar="NAME",
        help="character encoding (default: UTF-8; UTF-16 and byte order marks are recognized)",
    )
    group.add_argument(
        "--delimiter",
        type=_delimiter,
        metavar="CHARACTER",
        help="field separator of CSV and TSV: a character, or tab (default: comma for .csv, tab for .tsv)",
    )
    group.add_argument(
        "--quoting",
        choices=_QUOTING,
        default=_QUOTING[0],
        help="none: quotation marks in CSV and TSV are ordinary text (default: %(default)s, they enclose fields)",
    )
    group.add_argument(
        "--no-header",
        action="store_true",
        help="CSV and TSV files have no row of column names: name columns by number, from 1",
    )


def read_options(options: Mapping[str, Any]) -> "ReadOptions":
    """Returns how files are read, from parsed options.

    Raises:
        InputError: the value of an option is invalid.
    """
    from textfiles.text_file import ReadOptions  # noqa: PLC0415, needs the extra

    return ReadOptions(
        format=Format(f".{options['input_format']}") if options["input_format"] else None,
        encoding=options["encoding"],
        delimiter=options["delimiter"],
        quoting=options["quoting"] != "none",
        header=not options["no_header"],
    )


def _delimiter(text: str) -> str:
    return {"tab": "\t", r"\t": "\t"}.get(text, text)
