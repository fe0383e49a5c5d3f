"""The command's options for the settings of a model."""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, get_args

from textfiles import InputError
from training.settings import (
    DEFAULT_PRESETS,
    DENSE_ONLY,
    EMBEDDING_ONLY,
    NGRAM_ONLY,
    OWN_DATA,
    OWN_DATA_ONLY,
    PRESETS,
    CharSpans,
    ClassWeights,
    Features,
    Loss,
    Optimizer,
    Preset,
    Settings,
    TermFrequency,
    VectorizerName,
    shown,
)

_OLD_NAMES = {
    "--embedding-dim": "--dimensions",
    "--max-ngram": "--orders",
    "--min-df": "--min-count",
    "--term-frequency": "--counts",
}
"""Earlier names of options, which stay as aliases."""


class _Adder:
    """Adds options for settings to a parser. The help of each shows its defaults for a data set.

    Args:
        parser: gets the options.
        data_set: the data set whose defaults the help shows.
    """

    def __init__(self, parser: argparse.ArgumentParser, data_set: str) -> None:
        self._parser = parser
        self.data_set = data_set

    def __call__(self, flag: str, kind: Callable[[str], Any], text: str, choices: Sequence[str] | None = None) -> None:
        """Adds an option, unless it has no effect on the data set."""
        name = flag.removeprefix("--").replace("-", "_")
        if self.data_set != OWN_DATA and name in OWN_DATA_ONLY:
            return
        self._parser.add_argument(
            flag,
            *([_OLD_NAMES[flag]] if flag in _OLD_NAMES else []),
            dest=name,
            type=kind,
            choices=choices,
            metavar=None if choices else kind.__name__.strip("_").upper(),
            default=argparse.SUPPRESS,
            help=self._help(name, text),
        )

    def _help(self, name: str, text: str) -> str:
        defaults = {preset: shown(getattr(settings, name)) for preset, settings in PRESETS[self.data_set].items()}
        if name in NGRAM_ONLY:
            return f"ngram: {text} (default: {defaults['ngram']})"
        if name in _dense_only(self.data_set):
            return f"dense: {text} (default: {defaults['dense']})"
        if len(set(defaults.values())) == 1:
            return f"{text} (default: {defaults[DEFAULT_PRESETS[self.data_set]]})"
        return f"{text} (default: {', '.join(f'{value} for {preset}' for preset, value in defaults.items())})"


def add_settings(parser: argparse.ArgumentParser, data_set: str) -> None:
    """Adds the options for the settings of a data set."""
    parser.add_argument(
        "--preset",
        choices=get_args(Preset),
        default=DEFAULT_PRESETS[data_set],
        help="ngram: a linear classifier on n-grams; dense: a neural network on words (default: %(default)s)",
    )
    add = _Adder(parser, data_set)
    _add_settings_of_ngram(add)
    _add_settings_of_dense(add)
    _add_settings_of_both(add)
    parser.add_argument(
        "--target-precision",
        type=share,
        metavar="SHARE",
        default=argparse.SUPPRESS,
        help="find the lowest probability at which each label reaches this precision on validation texts, and store it"
        " with the version (default: no thresholds)",
    )
    add("--seed", _seed, "seed of the initial weights and of the shuffling")


def _add_settings_of_ngram(add: _Adder) -> None:
    add(
        "--features",
        str,
        "n-grams of words, of characters, or both; auto: the most accurate on held-out texts",
        get_args(Features),
    )
    add("--max-ngram", _ngram, "longest n-gram of words")
    add("--char-ngrams", _lengths, "shortest and longest n-gram of characters, as 2,5")
    add("--char-spans", str, "whether n-grams of characters stay within words or cross them", get_args(CharSpans))
    add(
        "--min-df",
        _count,
        "minimum document frequency: number of training texts in which a feature must occur"
        + ("; auto: 2, or 1 where few short texts are more accurate so" if add.data_set == OWN_DATA else ""),
    )
    add("--term-frequency", str, "term weighting: binary or log counts", get_args(TermFrequency))
    add("--idf-power", _power, "exponent of a feature's inverse document frequency")
    add("--divergence-power", _power, "exponent of the divergence of the classes of the texts with a feature")
    add("--buckets", _buckets, "number of buckets for hashed n-grams, a power of two")
    add(
        "--cost",
        _positive,
        "weight of errors on training texts: the higher, the closer the fit, and the sooner it overfits (C of a"
        " linear SVM); auto: the most accurate on held-out texts",
    )


def _add_settings_of_dense(add: _Adder) -> None:
    add("--vectorizer", str, "input of the network", get_args(VectorizerName))
    add("--num-words", _words, "number of word indices, including the reserved 0 to 3")
    add("--sequence-length", _count, "embedding: maximum number of words of a text, including the start mark")
    add("--embedding-dim", _count, "embedding: size of a word's vector")
    add("--layers", _layers, "units of the hidden layers")
    add("--loss", str, "loss function", get_args(Loss))
    add("--optimizer", str, "optimizer", get_args(Optimizer))
    add("--learning-rate", _positive, "learning rate of the optimizer")
    add("--epochs", _count, "maximum number of epochs in the search for the best epoch")
    add("--patience", _count, "end the search after this number of epochs without a lower validation loss")
    add("--batch-size", _count, "texts in a mini-batch; auto: by the number of training texts")


def _add_settings_of_both(add: _Adder) -> None:
    if add.data_set == OWN_DATA:
        add("--validation-split", share, "share of the training texts to hold out for validation")
    else:
        add("--validation-samples", _count, "number of texts to hold out for validation, from the beginning")
    add("--class-weights", str, "balanced: rare labels count as much as frequent ones", get_args(ClassWeights))


def settings(options: dict[str, Any]) -> Settings:
    """Returns the settings of parsed options.

    Raises:
        InputError: an option has no effect together with the others.
    """
    preset = PRESETS[options["data_set"]][options["preset"]]
    given = {field.name: options[field.name] for field in fields(preset) if field.name in options}
    changed = replace(preset, **given)
    for names, choice, made in (
        (NGRAM_ONLY, "--preset ngram", changed.preset == "ngram"),
        (_dense_only(changed.data_set), "--preset dense", changed.preset == "dense"),
        (EMBEDDING_ONLY, "--vectorizer embedding", changed.vectorizer == "embedding"),
        (("char_ngrams", "char_spans"), "--features characters or both", changed.features != "words"),
        (("max_ngram",), "--features words or both", changed.features != "characters"),
    ):
        for name in names:
            if name in given and not made:
                raise InputError(f"--{name.replace('_', '-')} needs {choice}")
    return changed


def _dense_only(data_set: str) -> tuple[str, ...]:
    """Returns the settings that only `dense` has. On own data `num_words` is one: hashed n-grams need no vocabulary."""
    return (*DENSE_ONLY, "num_words") if data_set == OWN_DATA else DENSE_ONLY


def share(text: str) -> float:
    """Parses a share: a number above 0 and below 1."""
    value = _float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1")
    return value


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
_seed = _number(0, 2**32 - 1)
"""The range of seeds that Keras accepts."""
_ngram = _number(1, 3)


def _words(text: str) -> int:
    from textmodel.vocabulary import FIRST_WORD  # noqa: PLC0415, needs the extra

    return _number(FIRST_WORD + 1, 2**31 - 1)(text)


_words.__name__ = _count.__name__


def _lengths(text: str) -> tuple[int, int]:
    try:
        low, high = map(_number(1, 6), text.split(","))
        if low > high:
            raise ValueError
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(f"{text!r} is not two rising lengths from 1 to 6, as 2,5") from None
    return low, high


def _buckets(text: str) -> int:
    value = _number(1, 2**22)(text)
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


def _positive(text: str) -> float:
    value = _float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value


_MAX_POWER = 10
"""Higher powers leave only the rarest features a weight."""


def _power(text: str) -> float:
    value = _float(text)
    if not 0 <= value <= _MAX_POWER:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to {_MAX_POWER}")
    return value
