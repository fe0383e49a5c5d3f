"""The command `select` of `text-classifier-train`: which texts to label next."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textfiles import FORMATS, InputError, counted
from textfiles.command import add_read_options, read_options
from textmodel.names import is_model_name
from training.evaluation_commands import version_of
from training.options import add_models

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from training.data.pool import PoolText
    from training.evaluation.acquisition import Candidate

_KINDS = ("margin", "disagreement")


def add_select(command: argparse.ArgumentParser) -> None:
    """Adds the options of `select`. `run` takes them when they are parsed."""
    command.description = (
        "Choose the texts to label next from a pool without labels: those whose two highest probabilities are closest"
        " (margin), or those to which two versions give different labels, the surest first (disagreement). Of"
        " near-duplicates one is chosen. The result is a file for annotation tools: .jsonl, JSON Lines as Prodigy reads"
        " them, or .json, an array as Label Studio reads it."
    )
    command.add_argument(
        "--pool", required=True, type=Path, nargs="+", action="extend", metavar="FILE", help=f"texts: {FORMATS}"
    )
    command.add_argument(
        "--text-column", default="text", metavar="NAME", help="column, or key, of the texts (default: %(default)s)"
    )
    command.add_argument("--model", required=True, metavar="NAME", help="the model")
    command.add_argument("--version", type=int, metavar="N", help="its version (default: the one in service)")
    command.add_argument(
        "--other-version",
        type=int,
        metavar="N",
        help="disagreement: the version to compare with (default: the shadow version)",
    )
    command.add_argument("--by", choices=_KINDS, default="margin", help="what decides (default: %(default)s)")
    command.add_argument("--count", type=_count, default=200, metavar="N", help="how many texts (default: %(default)s)")
    command.add_argument(
        "--output", required=True, type=_output, metavar="FILE", help="the file to write, .jsonl or .json"
    )
    add_read_options(command)
    add_models(command)
    command.set_defaults(run=_select)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 100,000")
    return int(text)


def _output(text: str) -> Path:
    path = Path(text)
    if path.suffix not in (".json", ".jsonl"):
        raise argparse.ArgumentTypeError(f"{text!r} ends neither in .jsonl nor in .json")
    return path


def _select(options: dict[str, Any]) -> None:
    # Imported here: help and a wrong option need not wait for them.
    from textmodel.version_folder import shadow_version  # noqa: PLC0415
    from training.evaluation.acquisition import by_disagreement, by_margin, choose  # noqa: PLC0415
    from training.evaluation.version_evaluation import LoadedVersion  # noqa: PLC0415

    if not is_model_name(options["model"]):
        raise InputError(f"--model {options['model']!r} is no name of a model")
    path = version_of(options["models"], options["model"], options["version"])
    texts = _texts(options)
    if options["by"] == "margin":
        if options["other_version"] is not None:
            raise InputError("--other-version needs --by disagreement")
        candidates = by_margin(LoadedVersion(path), texts)
    else:
        other = options["other_version"] or shadow_version(options["models"] / options["model"])
        if other is None:
            raise InputError("--by disagreement needs --other-version: the model has no shadow version")
        compared = version_of(options["models"], options["model"], other)
        if compared == path:
            raise InputError(f"--other-version {other} is the version itself: name another")
        candidates = by_disagreement(LoadedVersion(path), LoadedVersion(compared), texts)
    chosen = choose(candidates, options["count"])
    if not chosen:
        raise InputError("no text was chosen: the pool has none, or the versions agree on all")
    _write(options["output"], chosen)
    print(f"Wrote {counted(len(chosen), 'text')} to {options['output']}")


def _texts(options: dict[str, Any]) -> "Iterator[PoolText]":
    from training.data.pool import PoolFile  # noqa: PLC0415

    reading = read_options(options)
    for path in options["pool"]:
        yield from PoolFile(path, options["text_column"], reading).texts()


def _write(path: Path, chosen: "Sequence[Candidate]") -> None:
    """Writes objects with the key `text`, and under `meta` what was predicted, which annotators may see."""
    import msgspec  # noqa: PLC0415, help needs no installed package

    tasks = [
        msgspec.json.encode(
            {
                "text": each.text.text,
                "meta": {
                    "line": each.text.number,
                    "predicted": list(each.labels),
                    "probability": [round(probability, 6) for probability in each.probabilities],
                },
            }
        )
        for each in chosen
    ]
    is_array = path.suffix == ".json"
    path.write_bytes(b"[\n" + b",\n".join(tasks) + b"\n]\n" if is_array else b"".join(task + b"\n" for task in tasks))
