"""The command `text-classifier-bulk`."""

import argparse
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textfiles import FORMATS, Format, InputError, counted
from textfiles.command import Parser, add_read_options, fail, read_options
from textmodel import ModelError
from textmodel.extras import needs_extra

if TYPE_CHECKING:
    from bulk.driver import Totals
    from bulk.inputs import Columns
    from textfiles import ReadOptions
    from textmodel import VersionFolder

_PROGRAM = "text-classifier-bulk"
_fail = partial(fail, _PROGRAM)
_OUTPUTS = {"parquet": Format.PARQUET, "csv": Format.CSV, "jsonl": Format.JSON_LINES}


@needs_extra(_PROGRAM, "bulk")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        The exit status: 0 success; 1 failure, or a file that could not be read to its end; 2 wrong options, or an extra
        that is missing; 130 interrupted.
    """
    options = parser().parse_args(arguments)
    try:
        return _run(options)
    except InputError as error:
        return _fail(2, f"error: {error}")
    except OSError as error:
        return _fail(1, f"error: {error}")
    except KeyboardInterrupt:
        return _fail(130, "interrupted: run the same command again to classify the remaining files")


def _run(options: argparse.Namespace) -> int:
    # Imported here, as below: --help and wrong options neither need an installed package nor wait for Ray.
    from bulk.inputs import Columns, find_inputs  # noqa: PLC0415

    abstains = options.use_thresholds or options.min_probability > 0
    abstained = options.abstained_column if abstains else None
    columns = Columns(options.text_column, options.label_column, options.probability_column, abstained)
    reading = read_options(vars(options))
    skipped: list[str] = []
    output_format = options.format and _OUTPUTS[options.format]
    inputs = find_inputs(options.inputs, options.output, output_format, reading, skipped.append)
    folder = _version(options.model)
    thresholds = _thresholds(folder, options) if abstains else None
    from ray.exceptions import RayError  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    from bulk.cluster import check_nodes, cluster  # noqa: PLC0415
    from bulk.driver import run  # noqa: PLC0415
    from bulk.output_folder import OutputFolder  # noqa: PLC0415

    with closing(OutputFolder(options.output, _settings(folder, columns, thresholds, reading))) as outputs:
        print(*skipped, sep="\n", end="\n" if skipped else "", flush=True)
        remaining = [input_ for input_ in inputs if not outputs.is_finished(input_)]
        if len(remaining) < len(inputs):
            print(f"finished already: {len(inputs) - len(remaining)} of {counted(len(inputs), 'file')}", flush=True)
        if not remaining:
            return 0
        console = Console()
        try:
            with cluster(options.address, options.workers, console) as workers:
                if options.address:
                    check_nodes(folder, remaining)
                totals = run(
                    folder.path,
                    remaining,
                    columns,
                    thresholds=thresholds,
                    workers=workers,
                    outputs=outputs,
                    console=console,
                )
        except RayError as error:
            return _fail(1, f"error: {getattr(error, 'cause', error)!r}")
    return _report(totals, options.output, options.encoding or "UTF-8")


def _settings(
    folder: "VersionFolder", columns: "Columns", thresholds: Sequence[float] | None, reading: "ReadOptions"
) -> dict[str, str]:
    """Returns what the outputs depend on besides their inputs."""
    return {
        "version": f"{folder.metadata.name}/{folder.path.name} of {folder.metadata.created_at.isoformat()}",
        **{f"{name} column": value for name, value in vars(columns).items() if value},
        **({"thresholds": " ".join(map(str, thresholds))} if thresholds else {}),
        **({"input": " ".join(reading.arguments())} if reading.arguments() else {}),
    }


def _report(totals: "Totals", output: Path, encoding: str) -> int:
    """Prints the totals of a run. Returns the exit status."""
    from bulk.inputs import REJECTED  # noqa: PLC0415

    print(f"Classified {counted(totals.rows, 'row')} of {counted(totals.files, 'file')} into {output}")
    if totals.rejected:
        print(f"Rejected {counted(totals.rejected, 'row')}: {output / REJECTED} has the reasons")
    if totals.misencoded > totals.rows:
        print(f"Most rows are not {encoding}: name their encoding with --encoding, as cp1252, euc-kr or shift_jis")
    if totals.failed:
        return _fail(1, f"error: no output for {counted(totals.failed, 'file')}: the lines above give the reasons")
    return 0


def _version(path: Path) -> "VersionFolder":
    """Returns the version at a path, or the version in service of the model there, after loading it once."""
    from textmodel import VersionFolder, load_engine  # noqa: PLC0415
    from textmodel.version_folder import served_version, version_path, versions  # noqa: PLC0415

    try:
        number = served_version(path)
        if number is None and not VersionFolder(path).assets_extra.is_dir():
            found = ", ".join(map(str, versions(path.parent)))
            hint = f": the versions of {path.parent} are {found}" if found else ""
            raise InputError(f"--model: {path} is neither a version's folder nor a model's{hint}")
        folder = (path if number is None else version_path(path, number)).resolve()
        load_engine(folder)
        return VersionFolder(folder)
    except ModelError as error:
        raise InputError(f"--model: {error}") from error


def _thresholds(folder: "VersionFolder", options: argparse.Namespace) -> list[float]:
    """Returns the probability of each label below which it is marked."""
    if not options.use_thresholds:
        return [options.min_probability] * len(folder.labels)
    if not folder.metadata.abstention:
        raise InputError(f"--use-thresholds: {folder.path} was trained without --target-precision")
    return [max(options.min_probability, threshold) for threshold in folder.metadata.abstention.thresholds]


def parser() -> argparse.ArgumentParser:
    """Returns the command's parser."""
    command = Parser(
        allow_abbrev=False,  # else --input would be --input-format
        prog=_PROGRAM,
        description=f"Classify files of texts: {FORMATS}. Each output has the rows of its input, with label and"
        " probability. The same command resumes a run that was stopped.",
    )
    command.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="input files, or folders of them")
    command.add_argument("--model", required=True, type=Path, metavar="DIR", help="folder of a version, or of a model")
    command.add_argument("--output", required=True, type=Path, metavar="DIR", help="output folder")
    command.add_argument(
        "--format", choices=_OUTPUTS, help="format of the outputs (default: that of the input, jsonl for text)"
    )
    for name, what in (
        ("text", "name of the input column, or key, with the texts"),
        ("label", "name of the output column for the labels"),
        ("probability", "name of the output column for the probabilities"),
    ):
        command.add_argument(f"--{name}-column", default=name, metavar="NAME", help=f"{what} (default: %(default)s)")
    command.add_argument(
        "--min-probability", type=_probability, metavar="P", default=0, help="mark labels of a lower probability"
    )
    command.add_argument(
        "--use-thresholds", action="store_true", help="mark labels below the version's own threshold of the label"
    )
    command.add_argument(
        "--abstained-column",
        default="abstained",
        metavar="NAME",
        help="name of the output column for these marks (default: %(default)s)",
    )
    add_read_options(command)
    command.add_argument("--workers", type=_positive, metavar="N", help="number of engines (default: one for each CPU)")
    command.add_argument(
        "--address", metavar="HOST:PORT", help="address of a Ray cluster, or auto (default: start one on this machine)"
    )
    return command


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


_positive.__name__ = "number of workers"  # the name in argparse's error


def _probability(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError
    return number


_probability.__name__ = "number from 0 to 1"
