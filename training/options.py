"""Options that several commands of `text-classifier-train` take."""

import argparse
from pathlib import Path
from typing import Any

from textfiles import TABLES
from training.data.labelled_file import LabelledFile


def add_labelled_file(parser: argparse.ArgumentParser) -> None:
    """Adds what names a file of labelled texts."""
    parser.add_argument("--data", required=True, type=Path, metavar="FILE", help=f"labelled texts: {TABLES}")
    for column in ("text", "label"):
        parser.add_argument(
            f"--{column}-column",
            default=column,
            metavar="NAME",
            help=f"column, or key, of the {column}s (default: %(default)s)",
        )


def labelled_file(options: dict[str, Any]) -> LabelledFile:
    """Returns the file that the parsed options name.

    Raises:
        InputError: it cannot be such a file.
    """
    return LabelledFile(options["data"], options["text_column"], options["label_column"])


def add_models(parser: argparse.ArgumentParser) -> None:
    """Adds the folder of the models."""
    parser.add_argument(
        "--models", type=Path, default=Path("models"), metavar="DIR", help="folder of the models (default: %(default)s)"
    )
