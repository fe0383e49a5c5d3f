"""Options that several commands of `text-classifier-train` take."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from textfiles import TABLES, InputError
from textfiles.command import add_read_options, read_options
from training.settings import PromotionMetric

if TYPE_CHECKING:
    from training.data.labelled_file import LabelledFiles


def add_labelled_files(parser: argparse.ArgumentParser) -> None:
    """Adds the options that name files of labelled texts. `labelled_files` takes them when they are parsed."""
    parser.add_argument(
        "--data",
        required=True,
        type=Path,
        nargs="+",
        action="extend",
        metavar="FILE",
        help=f"labelled texts, in one file or several; -: standard input. {TABLES}",
    )
    for column in ("text", "label"):
        parser.add_argument(
            f"--{column}-column",
            default=column,
            metavar="NAME",
            help=f"column, or key, of the {column}s (default: %(default)s)",
        )
    parser.add_argument(
        "--bad-rows",
        type=Path,
        metavar="FILE",
        help="leave out the rows that cannot be used, and list them in this file (default: they are an error)",
    )
    add_read_options(parser)


def labelled_files(options: Mapping[str, Any], paths: Sequence[Path]) -> "LabelledFiles":
    """Returns the files of these paths, read as the parsed options say.

    Raises:
        InputError: one cannot be such a file.
    """
    # Imported here: help needs no installed package.
    from textfiles import STANDARD_INPUT  # noqa: PLC0415
    from training.data.labelled_file import LabelledFile, LabelledFiles  # noqa: PLC0415

    if [*options["data"], *(options.get("test_data") or ())].count(STANDARD_INPUT) > 1:
        raise InputError("standard input can be given once: give files")
    reading = read_options(options)
    columns = options["text_column"], options["label_column"]
    return LabelledFiles([LabelledFile(path, *columns, reading) for path in paths])


def add_models(parser: argparse.ArgumentParser) -> None:
    """Adds the folder of the models."""
    parser.add_argument(
        "--models", type=Path, default=Path("models"), metavar="DIR", help="folder of the models (default: %(default)s)"
    )


def add_promotion(parser: argparse.ArgumentParser) -> None:
    """Adds the options that decide whether the new version is served."""
    parser.add_argument(
        "--promote-if-better",
        action="store_true",
        help="compare the new version with the one in service on the test texts that neither has learned; unless it is"
        " better (95%% confidence), write it as candidate-<version>, which is not served. The exit status is 0 in both"
        " cases. The more often the same test texts decide, the less their result says of new texts",
    )
    parser.add_argument(
        "--promotion-metric",
        choices=get_args(PromotionMetric),
        default=get_args(PromotionMetric)[0],
        help="what has to be better; macro-f1 counts each label the same, however few texts it has"
        " (default: %(default)s)",
    )
    add_allowances(parser)


def add_allowances(parser: argparse.ArgumentParser) -> None:
    """Adds the options that allow a promoted version to lack what the one in service has."""
    parser.add_argument(
        "--allow-removed-labels",
        action="store_true",
        help="promote a version that lacks a label of the one in service",
    )
    parser.add_argument(
        "--allow-removed-thresholds",
        action="store_true",
        help="promote a version without thresholds for abstention (--target-precision), though the one in service has"
        " some",
    )
