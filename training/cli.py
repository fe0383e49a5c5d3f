"""The command `text-classifier-train`."""

import argparse
import math
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NoReturn, get_args

from textmodel import ModelError
from textmodel.version_folder import is_model_name
from textmodel.vocabulary import FIRST_WORD
from training.errors import InputError
from training.settings import (
    DEFAULT_PRESET,
    DENSE_ONLY,
    EMBEDDING_ONLY,
    NGRAM_ONLY,
    PRESETS,
    Counts,
    Loss,
    Optimizer,
    Preset,
    Settings,
    VectorizerName,
    shown,
)

_PROGRAM = "text-classifier-train"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        The exit status: 0 success, 1 failure, 2 input that cannot be used, 130 interrupted, 143 terminated.
    """
    options = vars(_parser().parse_args(arguments))
    try:
        with _sigterm_raised():
            _train(_settings(options), options["name"], options["data_dir"], options["models"])
    except InputError as error:
        return _fail(2, f"error: {error}")
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


def _train(settings: Settings, name: str | None, data_dir: Path | None, models: Path) -> None:
    # Imported here: a wrong option need not wait for TensorFlow.
    with _quiet_tensorflow():
        from training.train import train  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    from training.report import summary  # noqa: PLC0415

    console = Console()
    result = train(settings, name or settings.data_set, data_dir, models, console)
    console.print(summary(result.epochs, result.evaluation, result.uncalibrated, result.costs))
    console.print(f"Wrote {result.folder.path}", soft_wrap=True)


@contextmanager
def _quiet_tensorflow() -> Iterator[None]:
    """Hides what TensorFlow says while it starts: it writes past Python, before its own log level counts."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with tempfile.TemporaryFile() as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _fail(status: int, message: str) -> int:
    print(f"{_PROGRAM}: {' '.join(message.split())}", file=sys.stderr)  # one line, whatever a library's text holds
    return status


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{_PROGRAM}: error: {message}: see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(_PROGRAM, description="Train a text classifier and write it as a model's next version.")
    data_sets = parser.add_subparsers(title="data sets", dest="data_set", required=True, metavar="DATA_SET")
    for data_set, presets in PRESETS.items():
        _add_options(data_sets.add_parser(data_set, help=f"the data set {data_set} of Keras"), data_set, presets)
    return parser


def _add_options(parser: argparse.ArgumentParser, data_set: str, presets: Mapping[Preset, Settings]) -> None:
    place = parser.add_argument_group("what is read and written")
    place.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help=f"folder with {data_set}.npz and {data_set}_word_index.json (default: Keras downloads them)",
    )
    place.add_argument(
        "--models", type=Path, default=Path("models"), metavar="DIR", help="folder of the models (default: models)"
    )
    place.add_argument("--name", type=_name, help=f"name of the model (default: {data_set})")

    def setting(flag: str, kind: Callable[[str], Any], text: str, choices: Sequence[str] | None = None) -> None:
        name = flag.removeprefix("--").replace("-", "_")
        defaults = {preset: shown(getattr(settings, name)) for preset, settings in presets.items()}
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
    setting("--validation-samples", _count, "training texts, the first ones, that the search holds out")
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


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value


def _power(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0")
    return value


def _name(text: str) -> str:
    if not is_model_name(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not letters, digits, '.', '-', '_', a letter or digit first")
    return text
