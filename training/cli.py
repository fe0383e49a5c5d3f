"""The command `text-classifier-train`: trains on the user's own data or, as `imdb` and `reuters`, on those of Keras."""

import argparse
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

from textfiles import InputError
from textfiles.command import Parser, fail, stderr_hidden
from textmodel import ModelError
from textmodel.version_folder import is_model_name
from textmodel.vocabulary import FIRST_WORD
from training import evaluation_commands, live_commands
from training.data.labelled_file import TrainingFiles
from training.options import add_labelled_files, add_models, add_promotion, labelled_files
from training.settings import (
    DEFAULT_PRESET,
    DENSE_ONLY,
    EMBEDDING_ONLY,
    NGRAM_ONLY,
    OWN_DATA,
    PRESETS,
    ClassWeights,
    Counts,
    Loss,
    Optimizer,
    Preset,
    Settings,
    VectorizerName,
    shown,
)

_PROGRAM = "text-classifier-train"
_fail = partial(fail, _PROGRAM)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        The exit status: 0 success, 1 failure, 2 input that cannot be used, 130 interrupted, 143 terminated.
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
    """SIGTERM came."""


@contextmanager
def _sigterm_raised() -> Iterator[None]:
    """Makes SIGTERM an exception, as SIGINT is, so that what has been begun is cleared up."""

    def terminate(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not disturb the clearing up
        raise _Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _train_on_own_data(options: dict[str, Any]) -> None:
    data, test_data = labelled_files(options, options["data"]), options["test_data"]
    test = labelled_files(options, test_data) if test_data else options["test_split"]
    _train(options, TrainingFiles(data, test, options["bad_rows"]))


def _train_on_data_set(options: dict[str, Any]) -> None:
    _train(options, options["data_dir"])


def _train(options: dict[str, Any], source: TrainingFiles | Path | None) -> None:
    settings = _settings(options)
    # Imported here: a wrong option need not wait for TensorFlow.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with stderr_hidden():
        from training.train import train  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    from training import report  # noqa: PLC0415
    from training.evaluation.promotion import Gate  # noqa: PLC0415

    console = Console()
    gate = Gate(options["promotion_metric"], allow_removed_labels=options["allow_removed_labels"])
    promotion = gate if options["promote_if_better"] else None
    result = train(settings, options["name"], source, options["models"], console, gate=promotion)
    if settings.data_set == OWN_DATA:
        console.print(report.per_class(result.classes, result.evaluation))
    console.print(report.summary(result.epochs, result.evaluation, result.uncalibrated, result.costs))
    console.print(f"Wrote {result.folder.path}", soft_wrap=True)
    if result.decision:
        console.print(result.decision.sentence(result.folder.path), soft_wrap=True, markup=False, highlight=False)


def parsed(words: Sequence[str]) -> dict[str, Any]:
    """Parses a command's name and its options, or options alone, which are those for own data. `run` takes them."""
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
    return vars(parser.parse_args(words))


def add_own_data(parser: argparse.ArgumentParser) -> None:
    """Adds the options that come without a command: training on own data."""
    parser.description = (
        "Train a text classifier on your own data, and write it as a model's next version. Or, with a command: train"
        " on a data set of Keras; evaluate a version; compare two."
    )
    add_labelled_files(parser)
    test = parser.add_mutually_exclusive_group()
    test.add_argument(
        "--test-data",
        type=Path,
        nargs="+",
        action="extend",
        metavar="FILE",
        help="labelled texts to test on (default: a share of the data)",
    )
    test.add_argument(
        "--test-split",
        type=_share,
        metavar="SHARE",
        default=0.2,
        help="share of the texts that is held out for the test, by a hash of the text (default: %(default)s)",
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
}
"""What adds the options of each command to its parser."""


def _add_training(parser: argparse.ArgumentParser, data_set: str) -> None:
    parser.set_defaults(data_set=data_set)
    add_models(parser)
    add_promotion(parser)

    def setting(flag: str, kind: Callable[[str], Any], text: str, choices: Sequence[str] | None = None) -> None:
        name = flag.removeprefix("--").replace("-", "_")
        defaults = {preset: shown(getattr(settings, name)) for preset, settings in PRESETS[data_set].items()}
        if name in NGRAM_ONLY:
            text, default = f"ngram: {text}", defaults["ngram"]
        elif name in DENSE_ONLY or len(set(defaults.values())) == 1:
            default = defaults[DEFAULT_PRESET]
        else:
            default = ", ".join(f"{value} for {preset}" for preset, value in defaults.items())
        parser.add_argument(
            flag,
            type=kind,
            choices=choices,
            metavar=None if choices else kind.__name__.strip("_").upper(),
            default=argparse.SUPPRESS,
            help=f"{text} (default: {default})",
        )

    parser.add_argument(
        "--preset",
        choices=get_args(Preset),
        default=DEFAULT_PRESET,
        help=f"dense: hidden layers; ngram: one layer on words and n-grams (default: {DEFAULT_PRESET})",
    )
    setting("--vectorizer", str, "what a text becomes", get_args(VectorizerName))
    setting("--num-words", _words, "number of word indices, the reserved 0 to 3 included")
    setting("--sequence-length", _count, "embedding: how many words of a text count, its start mark included")
    setting("--dimensions", _count, "embedding: components of a word's vector")
    setting("--layers", _layers, "units of the hidden layers")
    setting("--loss", str, "loss function", get_args(Loss))
    setting("--optimizer", str, "optimizer", get_args(Optimizer))
    setting("--learning-rate", _rate, "learning rate of the optimizer")
    setting("--epochs", _count, "epochs of the search for the best epoch")
    setting("--batch-size", _count, "texts in a mini-batch")
    if data_set == OWN_DATA:
        setting("--validation-split", _share, "share of each label's training texts that the search holds out")
    else:
        setting("--validation-samples", _count, "training texts, the first ones, that the search holds out")
    setting(
        "--class-weights",
        str,
        "balanced: all labels count the same, however many texts each has",
        get_args(ClassWeights),
    )
    setting("--orders", _orders, "longest n-gram, from 1: words alone")
    setting("--buckets", _buckets, "what n-grams of two words and more are hashed to: a power of two")
    setting("--counts", str, "whether how often a text has a feature counts", get_args(Counts))
    setting("--min-count", _count, "training texts that a feature needs")
    setting("--idf-power", _power, "what a feature's inverse document frequency is raised to")
    setting("--divergence-power", _power, "what a feature's divergence of classes is raised to")
    setting("--seed", _seed, "seed of the initial weights and of the shuffling")


def _settings(options: dict[str, Any]) -> Settings:
    preset = PRESETS[options["data_set"]][options["preset"]]
    settings = replace(preset, **{field.name: options[field.name] for field in fields(preset) if field.name in options})
    for names, choice, made in (
        (NGRAM_ONLY, "--preset ngram", settings.preset == "ngram"),
        (DENSE_ONLY, "--preset dense", settings.preset == "dense"),
        (EMBEDDING_ONLY, "--vectorizer embedding", settings.vectorizer == "embedding"),
    ):
        for name in names:
            if name in options and not made:
                raise InputError(f"--{name.replace('_', '-')} needs {choice}")
    return settings


def _number(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high:,}")
        return value

    return number


_count = _number(1, 2**31 - 1)
_words = _number(FIRST_WORD + 1, 2**31 - 1)
_seed = _number(0, 2**32 - 1)
"""Keras's range."""
_orders = _number(1, 3)


def _buckets(text: str) -> int:
    value = _number(1, 2**30)(text)
    if value.bit_count() != 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a power of two")
    return value


def _layers(text: str) -> tuple[int, ...]:
    try:
        return tuple(_count(units) for units in text.split(","))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not units separated by commas, as 64,4") from None


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _rate(text: str) -> float:
    value = _float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value


def _share(text: str) -> float:
    value = _float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1")
    return value


def _power(text: str) -> float:
    value = _float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0")
    return value


def _name(text: str) -> str:
    if not is_model_name(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not letters, digits, '.', '-', '_', a letter or digit first")
    return text
