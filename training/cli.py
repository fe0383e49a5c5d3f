"""The command `text-classifier-train`: trains on the user's own data or, as `imdb` and `reuters`, on those of Keras."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textfiles import InputError
from textfiles.command import Parser, fail
from textmodel import ModelError
from textmodel.extras import needs_extra
from textmodel.names import is_model_name
from training import evaluation_commands, labelling_commands, live_commands
from training.options import (
    add_files,
    add_labelled_files,
    add_models,
    add_promotion,
    add_soft_labels,
    labelled_files,
    soft_columns,
)
from training.setting_options import add_settings, settings, share
from training.settings import OWN_DATA, PRESETS

if TYPE_CHECKING:
    from training.data.labelled_file import TrainingFiles

_PROGRAM = "text-classifier-train"
_fail = partial(fail, _PROGRAM)


@needs_extra(_PROGRAM, "training")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        The exit status: 0 success, 1 failure, 2 input that cannot be used or an extra that is missing, 130 interrupted,
        143 terminated.
    """
    options = parsed(sys.argv[1:] if arguments is None else arguments)
    try:
        with _sigterm_raised():
            options["run"](options)
    except InputError as error:
        return _fail(2, f"error: {error}", error.details)
    except (OSError, ModelError) as error:
        return _fail(1, f"error: {error}")
    except KeyboardInterrupt:
        return _fail(130, "interrupted: nothing was written")
    except _Terminated:
        return _fail(143, "terminated: nothing was written")
    return 0


class _Terminated(BaseException):
    """The process received SIGTERM."""


@contextmanager
def _sigterm_raised() -> Iterator[None]:
    """Turns SIGTERM into an exception, like SIGINT, so that unfinished files are removed."""

    def terminate(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the cleanup
        raise _Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _train_on_own_data(options: dict[str, Any]) -> None:
    from training.data.labelled_file import TrainingFiles  # noqa: PLC0415, help needs no installed package

    data = labelled_files(options, options["data"], soft_columns(options))
    test_data = options["test_data"]
    test = labelled_files(options, test_data) if test_data else options["test_split"]
    _train(options, TrainingFiles(data, test, options["bad_rows"]))


def _train_on_data_set(options: dict[str, Any]) -> None:
    _train(options, options["data_dir"])


def _train(options: dict[str, Any], source: "TrainingFiles | Path | None") -> None:
    chosen = settings(options)
    # Imported here: a wrong option need not wait for TensorFlow.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow would import Keras, which takes a third of its own time. A network of dense layers imports it itself.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    from textmodel.standard_error import stderr_hidden  # noqa: PLC0415, help needs no installed package

    with stderr_hidden():
        from training.train import train  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    from training import run_tables  # noqa: PLC0415
    from training.evaluation.promotion import Gate  # noqa: PLC0415

    console = Console()
    gate = Gate(
        options["promotion_metric"],
        allow_removed_labels=options["allow_removed_labels"],
        allow_removed_thresholds=options["allow_removed_thresholds"],
    )
    promotion = gate if options["promote_if_better"] else None
    run = train(chosen, options["name"], source, options["models"], console, gate=promotion)
    if chosen.data_set == OWN_DATA:
        console.print(run_tables.per_class(run))
    console.print(run_tables.summary(run))
    console.print(f"Wrote {run.folder.path}", soft_wrap=True)
    if run.decision:
        console.print(run.decision.sentence(run.folder.path), soft_wrap=True, markup=False, highlight=False)


def parsed(words: Sequence[str]) -> dict[str, Any]:
    """Parses a command's name and its options, or options alone, which are those for own data. Its item `run` is the
    function that takes the result.
    """
    if words and words[0] in COMMANDS:
        name, *words = words
        parser = Parser(f"{_PROGRAM} {name}", allow_abbrev=False)  # else --data would be --data-dir
        COMMANDS[name](parser)
    else:
        parser = Parser(
            _PROGRAM,
            usage=f"%(prog)s --name NAME --data FILE [options]\n       %(prog)s {{{','.join(COMMANDS)}}} [options]",
            epilog="Each command has its own options: %(prog)s imdb --help.",
            allow_abbrev=False,
        )
        add_own_data(parser)
        if words and not words[0].startswith("-"):
            parser.error(_no_command(words[0]))
    return vars(parser.parse_args(words))


def _no_command(word: str) -> str:
    close = get_close_matches(word, COMMANDS, n=1)
    meant = f"did you mean {close[0]}?" if close else f"the commands are {', '.join(COMMANDS)}"
    return f"no such command {word!r}: {meant}"


def add_own_data(parser: argparse.ArgumentParser) -> None:
    """Adds the options that are given without a command: those of training on own data."""
    parser.description = (
        "Train a text classifier on your own data, and write it as a model's next version. Or, with a command: train"
        " on a data set of Keras; evaluate a version; compare two; judge a shadow version; select texts to label; check"
        " labels."
    )
    add_labelled_files(parser)
    add_soft_labels(parser)
    test = parser.add_mutually_exclusive_group()
    add_files(test, "--test-data", "labelled texts to test on (default: a share of the data)")
    test.add_argument(
        "--test-split",
        type=share,
        metavar="SHARE",
        default=0.2,
        help="share of the texts to hold out for the test, by a hash of the text (default: %(default)s)",
    )
    parser.add_argument("--name", type=_name, required=True, help="name of the model")
    _add_training(parser, OWN_DATA)
    parser.set_defaults(run=_train_on_own_data)


def _add_data_set(parser: argparse.ArgumentParser, data_set: str) -> None:
    parser.description = f"Train a text classifier on the data set {data_set}, and write it as a model's next version."
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help=f"folder with {data_set}.npz and {data_set}_word_index.json (default: Keras downloads them)",
    )
    parser.add_argument("--name", type=_name, default=data_set, help="name of the model (default: %(default)s)")
    _add_training(parser, data_set)
    parser.set_defaults(run=_train_on_data_set)


COMMANDS: Mapping[str, Callable[[argparse.ArgumentParser], None]] = {
    **{name: partial(_add_data_set, data_set=name) for name in PRESETS if name != OWN_DATA},
    "evaluate": evaluation_commands.add_evaluate,
    "compare": evaluation_commands.add_compare,
    "judge": live_commands.add_judge,
    "select": labelling_commands.add_select,
    "check": labelling_commands.add_check,
}
"""For each command, the function that adds its options to a parser."""


def _add_training(parser: argparse.ArgumentParser, data_set: str) -> None:
    parser.set_defaults(data_set=data_set)
    add_models(parser)
    add_promotion(parser)
    add_settings(parser, data_set)


def _name(text: str) -> str:
    if not is_model_name(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not letters, digits, '.', '-', '_', a letter or digit first")
    return text
