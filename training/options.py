"""Options that several commands of `text-classifier-train` take."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from textfiles import TABLES, InputError
from textfiles.command import add_read_options, read_options
from training.settings import PromotionMetric

if TYPE_CHECKING:
    from training.data.labelled_file import LabelledFiles
    from training.data.soft_labels import SoftColumns

_INPUTS = ("data", "test_data", "labels", "pool", "labelled")
"""Options that name files to read."""
_OUTPUTS = ("bad_rows", "output", "report")
"""Options that name files to write."""


def add_files(parser: argparse._ActionsContainer, flag: str, what: str, **others: Any) -> None:
    """Adds an option that names one or more files.

    Args:
        parser: gets the option.
        flag: the option's name.
        what: the option's help.
        others: further arguments of `add_argument`.
    """
    parser.add_argument(flag, type=Path, nargs="+", action="extend", metavar="FILE", help=what, **others)


def add_version(parser: argparse.ArgumentParser) -> None:
    """Adds the options that name a version of a model."""
    parser.add_argument("--model", required=True, metavar="NAME", help="the model")
    parser.add_argument(
        "--model-version",
        "--version",
        dest="version",
        type=int,
        metavar="N",
        help="its version (default: the version in service: the pinned or the highest)",
    )


def add_labelled_files(parser: argparse.ArgumentParser, flag: str = "--data", what: str = "labelled texts") -> None:
    """Adds the options that name files of labelled texts. Pass the parsed options to `labelled_files`."""
    add_files(parser, flag, f"{what}, in one file or several; -: standard input. {TABLES}", required=True)
    for column in ("text", "label"):
        parser.add_argument(
            f"--{column}-column",
            default=column,
            metavar="NAME",
            help=f"column, or key, of the {column}s (default: %(default)s)",
        )
    add_bad_rows(parser)
    add_read_options(parser)


def add_bad_rows(parser: argparse.ArgumentParser) -> None:
    """Adds the option `--bad-rows`: the file that lists bad rows."""
    parser.add_argument(
        "--bad-rows",
        type=Path,
        metavar="FILE",
        help="leave out rows that cannot be used, and list them in this file (default: such rows are an error)",
    )


def add_soft_labels(parser: argparse.ArgumentParser) -> None:
    """Adds the options that name the columns of soft labels and weights. Pass the parsed options to `soft_columns`."""
    parser.add_argument(
        "--probability-columns",
        type=_probability_columns,
        metavar="NAME,NAME,...",
        default={},
        help="columns, or keys, with the probability of each label, as p_yes,p_no or yes=NAME,no=NAME: training uses"
        " the probabilities of texts that have them, which need no label (default: training uses labels only)",
    )
    parser.add_argument(
        "--weight-column",
        metavar="NAME",
        help="column, or key, with the weight of each text in training (default: all weights are 1)",
    )


def _probability_columns(text: str) -> dict[str, str]:
    # Imported here and in the functions below, so that help needs no installed package.
    from training.data.soft_labels import probability_columns  # noqa: PLC0415

    try:
        return probability_columns(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def soft_columns(options: Mapping[str, Any]) -> "SoftColumns":
    """Returns the columns of soft labels and weights that the parsed options name."""
    from training.data.soft_labels import SoftColumns  # noqa: PLC0415

    return SoftColumns(options["probability_columns"], options["weight_column"])


def labelled_files(
    options: Mapping[str, Any], paths: Sequence[Path], soft: "SoftColumns | None" = None
) -> "LabelledFiles":
    """Returns the files at these paths, to be read as the parsed options say.

    Raises:
        InputError: a path cannot be a file of labelled texts, or `check_files` refuses the options.
    """
    from training.data.labelled_file import LabelledFile, LabelledFiles  # noqa: PLC0415
    from training.data.soft_labels import NO_SOFT_COLUMNS  # noqa: PLC0415

    check_files(options)
    reading = read_options(options)
    columns = options["text_column"], options["label_column"]
    return LabelledFiles([LabelledFile(path, *columns, reading, soft or NO_SOFT_COLUMNS) for path in paths])


def check_files(options: Mapping[str, Any]) -> None:
    """Checks the files that parsed options name.

    Raises:
        InputError: standard input is given twice, an output file is also an input or another output, or a folder.
    """
    from textfiles import STANDARD_INPUT  # noqa: PLC0415

    read = [path for name in _INPUTS for path in options.get(name) or ()]
    if read.count(STANDARD_INPUT) > 1:
        raise InputError("standard input can be given once: give files")
    taken = {path.resolve() for path in read if path != STANDARD_INPUT}
    for name in _OUTPUTS:
        path, option = options.get(name), f"--{name.replace('_', '-')}"
        if path is not None:
            if path.resolve() in taken:
                raise InputError(f"{option} {path} is another file of this command: name a new one")
            if path.is_dir():
                raise InputError(f"{option} {path} is a folder: name a file in it")
            taken.add(path.resolve())


def output_file(*endings: str) -> Callable[[str], Path]:
    """Returns a parser of an output file's name. The name must end with one of the endings, which name the format."""

    def parsed(text: str) -> Path:
        path = Path(text)
        if path.suffix not in endings:
            raise argparse.ArgumentTypeError(f"{text!r} ends neither in {' nor in '.join(endings)}")
        if not path.parent.is_dir():
            raise argparse.ArgumentTypeError(f"{text!r}: there is no folder {path.parent}")
        return path

    return parsed


def add_models(parser: argparse.ArgumentParser) -> None:
    """Adds the option `--models`: the folder of the models."""
    parser.add_argument(
        "--models", type=Path, default=Path("models"), metavar="DIR", help="folder of the models (default: %(default)s)"
    )


def add_promotion(parser: argparse.ArgumentParser) -> None:
    """Adds the options that decide whether the new version goes into service."""
    parser.add_argument(
        "--promote-if-better",
        action="store_true",
        help="compare the new version with the version in service on the test texts that neither was trained on; unless"
        " it is better (95%% confidence), write it as candidate-<version>, which is not served. The exit status is 0 in"
        " both cases. The more often the same test texts decide, the less the result says about new texts",
    )
    parser.add_argument(
        "--promotion-metric",
        choices=get_args(PromotionMetric),
        default=get_args(PromotionMetric)[0],
        help="the metric that must be better; macro-f1 gives each label the same weight (default: %(default)s)",
    )
    add_allowances(parser)


def add_allowances(parser: argparse.ArgumentParser) -> None:
    """Adds the options that allow a promoted version to lack labels or thresholds of the version in service."""
    parser.add_argument(
        "--allow-removed-labels",
        action="store_true",
        help="promote even if the version lacks a label of the version in service",
    )
    parser.add_argument(
        "--allow-removed-thresholds",
        action="store_true",
        help="promote even if the version lacks the thresholds for abstention (--target-precision) of the version in"
        " service",
    )
