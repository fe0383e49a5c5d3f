"""The commands `evaluate` and `compare` of `text-classifier-train`. They train nothing, and need no TensorFlow for
versions that the compiled engine runs.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textfiles import InputError
from textmodel.names import version_number
from training.options import add_labelled_files, add_models, add_version, labelled_files, output_file

if TYPE_CHECKING:
    from training.evaluation.version_evaluation import LoadedVersion


def add_evaluate(command: argparse.ArgumentParser) -> None:
    """Adds the options of `evaluate`, and sets `run` to the function that takes the parsed options."""
    command.description = (
        "Measure a version on labelled texts: accuracy, macro-F1, calibration, each label, the most confident errors,"
        " and the share of unknown words compared with that of its training texts."
    )
    add_version(command)
    command.add_argument(
        "--report",
        type=output_file(".html", ".md"),
        metavar="FILE",
        help="write a report: .html, or .md with separate figures",
    )
    add_labelled_files(command)
    add_models(command)
    command.set_defaults(run=_evaluate)


def add_compare(command: argparse.ArgumentParser) -> None:
    """Adds the options of `compare`, and sets `run` to the function that takes the parsed options."""
    command.description = (
        "Tell whether version B is better than version A on the same labelled texts: by accuracy (95% interval of"
        " Bonett and Price, McNemar's exact test) and by macro-F1 (paired bootstrap, randomization test). B is better"
        " or worse where the interval and the test agree, else it is undecided. The exit status is 0 in each case."
        " Texts that either version has learned are left out, as far as the versions record them."
    )
    for name in "ab":
        command.add_argument(name, metavar=name.upper(), help="NAME/VERSION, or a version's folder")
    add_labelled_files(command)
    add_models(command)
    command.set_defaults(run=_compare)


def _evaluate(options: dict[str, Any]) -> None:
    # Imported here and in the functions below, so that help and wrong options do not wait for them.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from training import warnings  # noqa: PLC0415
    from training.data.bad_rows import BadRows  # noqa: PLC0415
    from training.evaluation import report as evaluation_report  # noqa: PLC0415
    from training.evaluation.version_evaluation import LoadedVersion, evaluate_files  # noqa: PLC0415

    files = labelled_files(options, options["data"])
    path = version_of(options["models"], options["model"], options["version"])
    result = evaluate_files(LoadedVersion(path), files, BadRows(options["bad_rows"]))
    table = Table("", "value")
    for row in evaluation_report.summary(result):
        table.add_row(*row)
    console = Console(soft_wrap=True, markup=False, highlight=False)
    console.print(f"{path} on {files}")
    console.print(table)
    for note in evaluation_report.notes(result):
        console.print(note)
    if options["report"]:
        warnings.show(console, evaluation_report.write(options["report"], result))
        console.print(f"Wrote {options['report']}")


def _compare(options: dict[str, Any]) -> None:
    from training.data.bad_rows import BadRows  # noqa: PLC0415
    from training.evaluation.version_evaluation import compare_on_files  # noqa: PLC0415

    files = labelled_files(options, options["data"])
    a, b = (_version_at(options["models"], options[name]) for name in "ab")
    if a.folder.path.resolve() == b.folder.path.resolve():
        raise InputError(f"{options['a']} and {options['b']} are the same version: name two")
    result = compare_on_files(a, b, files, BadRows(options["bad_rows"]))
    for comparison in filter(None, (result.accuracy, result.macro_f1)):
        print(f"{comparison.sentence(options['a'], options['b'])}.")
    for note in result.notes(options["a"], options["b"]):
        print(note)


def version_of(models: Path, name: str, number: int | None) -> Path:
    """Returns the folder of a model's version: of the version in service if no number is given.

    Raises:
        InputError: there is no such model or version; the message lists those that are there.
    """
    from textmodel.version_folder import served_version, version_path, versions  # noqa: PLC0415

    model = models / name
    found = versions(model)
    if not found:
        names = sorted(entry.name for entry in models.glob("*") if versions(entry))
        raise InputError(f"{models} has no model {name!r}: its models are {', '.join(names) or 'none'}")
    if number is None:
        number = served_version(model)
    if number not in found:
        raise InputError(f"{model} has no version {number}: its versions are {', '.join(map(str, found))}")
    return version_path(model, number)


def _version_at(models: Path, name: str) -> "LoadedVersion":
    from training.evaluation.version_evaluation import LoadedVersion  # noqa: PLC0415

    folders = [folder for folder in (Path(name), models / name) if (folder / "assets.extra").is_dir()]
    if folders:
        return LoadedVersion(folders[0])
    model, _, version = name.rpartition("/")
    if number := version_number(version):
        return LoadedVersion(version_of(models, model, number))
    raise InputError(f"{name} is no version: give NAME/VERSION of a model in {models}, or a version's folder")
