"""The command `judge` of `text-classifier-train`: the verdict on a shadow version, and its promotion."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textfiles import InputError, counted
from training.evaluation_commands import version_of
from training.options import add_allowances, add_labelled_files, add_models, labelled_files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from training.evaluation.captured import Captured, Pair


def add_judge(command: argparse.ArgumentParser) -> None:
    """Adds the options of `judge`, and sets `run` to the function that takes the parsed options."""
    command.description = (
        "Tell whether a shadow version is better than the version in service, on the live traffic that a server has"
        " captured (--capture): the difference of their accuracies with its 95% confidence interval, from true labels"
        " for the texts on which they disagree, or for a random sample of these. Disagreements on texts that either"
        " version has learned are left out, as far as the versions record them. The exit status is 0 whatever the"
        " verdict."
    )
    command.add_argument("--captured", required=True, type=Path, metavar="DIR", help="the server's --capture folder")
    add_labelled_files(command, "--labels", "texts with their true labels")
    command.add_argument("--model", metavar="NAME", help="the model, if several were captured")
    command.add_argument(
        "--versions",
        metavar="A,B",
        type=_versions,
        help="version in service and shadow, if several pairs were captured",
    )
    command.add_argument(
        "--promote",
        action="store_true",
        help="if the shadow is better, put it into service: pin it, and remove the shadow file; the exit status is"
        " 0 in both cases",
    )
    add_allowances(command)
    add_models(command)
    command.set_defaults(run=_judge)


def _versions(text: str) -> tuple[int, int]:
    try:
        version, shadow_version = map(int, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not two versions, as 1,2") from None
    return version, shadow_version


def _judge(options: dict[str, Any]) -> None:
    # Imported here, so that help does not wait for them.
    from textmodel.version_folder import version_path  # noqa: PLC0415
    from training.data import text_hashes  # noqa: PLC0415
    from training.data.bad_rows import BadRows  # noqa: PLC0415
    from training.evaluation.captured import read_captured  # noqa: PLC0415

    labels = labelled_files(options, options["labels"])
    pair, captured = _chosen(read_captured(options["captured"]), options["model"], options["versions"])
    with BadRows(options["bad_rows"]) as bad_rows:
        rows = list(labels.rows(bad_rows))
    model = options["models"] / pair.model
    paths = [version_path(model, number) for number in (pair.version, pair.shadow_version)]
    recorded = {path: text_hashes.read(path) for path in paths}
    judgement = captured.judge(rows, [hashes for hashes in recorded.values() if hashes is not None])
    comparison = judgement.comparison
    print(f"{comparison.sentence(*map(str, paths))}.")
    for note in judgement.notes():
        print(note)
    if unknown := [str(path) for path, hashes in recorded.items() if hashes is None]:
        print(f"Which texts {' and '.join(unknown)} learned is not recorded: they count like new texts.")
    if missing := [str(path) for path in paths if not path.is_dir()]:
        print(f"There is no folder {' and no folder '.join(missing)}: check --models.")
    if captured.dropped:
        print(f"Not compared, because the server was under load: {counted(captured.dropped, 'text')}.")
    if options["promote"]:
        print(_promote(options, pair) if comparison.verdict == "better" else "Not promoted.")


def _promote(options: dict[str, Any], pair: "Pair") -> str:
    from textmodel import VersionFolder  # noqa: PLC0415
    from textmodel.version_folder import promote_version, served_version, version_path, versions  # noqa: PLC0415
    from training.evaluation.promotion import Gate  # noqa: PLC0415

    path = version_of(options["models"], pair.model, pair.shadow_version)
    model = options["models"] / pair.model
    served = served_version(model)
    if served not in {pair.version, pair.shadow_version}:
        return f"Not promoted: {model}/{served} is in service now, and {path} was compared with version {pair.version}."
    gate = Gate(
        allow_removed_labels=options["allow_removed_labels"],
        allow_removed_thresholds=options["allow_removed_thresholds"],
    )
    if pair.version in versions(model):
        in_service = VersionFolder(version_path(model, pair.version))
        if reason := gate.refusal(in_service, VersionFolder(path)):
            return f"Not promoted: {reason}."
    pin = promote_version(model, pair.shadow_version)
    return f"Promoted: {path} is pinned by {pin}. Remove the pin to serve newer versions."


def _chosen(
    found: "Mapping[Pair, Captured]", model: str | None, numbers: tuple[int, int] | None
) -> "tuple[Pair, Captured]":
    pairs = [pair for pair in found if model in (None, pair.model) and numbers in (None, pair[1:])]
    if len(pairs) == 1:
        return pairs[0], found[pairs[0]]
    listed = "; ".join(map(str, sorted(pairs or found)))
    raise InputError(
        f"several pairs of versions were captured ({listed}): choose one with --model and --versions"
        if pairs
        else f"no such pair of versions was captured; those that were: {listed}"
    )
