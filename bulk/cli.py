"""The command `text-classifier-bulk`."""

import argparse
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from bulk.inputs import Columns, jobs
from textfiles import FORMATS, Format, InputError
from textfiles.command import Parser, fail
from textmodel import ModelError, VersionFolder, load_engine
from textmodel.version_folder import served_version, version_path

_PROGRAM = "text-classifier-bulk"
_fail = partial(fail, _PROGRAM)
_OUTPUTS = {"parquet": Format.PARQUET, "csv": Format.CSV, "jsonl": Format.JSON_LINES}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        The exit status: 0 success, 1 failure or a file that could not be read to its end, 2 options that cannot be
        used, 130 interrupted.
    """
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except InputError as error:
        return _fail(2, f"error: {error}")
    except OSError as error:
        return _fail(1, f"error: {error}")
    except KeyboardInterrupt:
        return _fail(130, "interrupted: the same command goes on with the files that are not finished")


def _run(options: argparse.Namespace) -> int:
    columns = Columns(options.text_column, options.label_column, options.probability_column)
    found = jobs(options.inputs, options.output, options.format and _OUTPUTS[options.format])
    folder = _version(options.model)
    # Imported here: help and a wrong option need not wait for Ray.
    from ray.exceptions import RayError  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    from bulk.cluster import check_nodes  # noqa: PLC0415
    from bulk.driver import cluster, run  # noqa: PLC0415
    from bulk.output_folder import REJECTED, Outputs  # noqa: PLC0415

    made_by = {
        "version": f"{folder.metadata.name}/{folder.path.name} of {folder.metadata.created_at.isoformat()}",
        **{f"{name} column": value for name, value in vars(columns).items()},
    }
    with closing(Outputs(options.output, made_by)) as outputs:
        left = [job for job in found if not outputs.is_finished(job)]
        if len(left) < len(found):
            print(f"{len(found) - len(left)} of {len(found)} files are finished already", flush=True)
        if not left:
            return 0
        console = Console()
        try:
            with cluster(options.address, options.workers, console) as workers:
                if options.address:
                    check_nodes(folder, left)
                totals = run(folder.path, left, columns, workers=workers, outputs=outputs, console=console)
        except RayError as error:
            return _fail(1, f"error: {getattr(error, 'cause', error)!r}")
    print(f"Classified {totals.rows:,} rows of {totals.files} files into {options.output}")
    if totals.rejected:
        print(f"{totals.rejected:,} rows could not be read: {options.output / REJECTED} says why")
    if totals.failed:
        return _fail(1, f"error: {totals.failed} files could not be read to their end")
    return 0


def _version(path: Path) -> VersionFolder:
    """Returns the version at a path, or the one in service of the model there, when its engine has been tried here."""
    try:
        number = served_version(path)
        folder = (path if number is None else version_path(path, number)).resolve()
        load_engine(folder)
        return VersionFolder(folder)
    except ModelError as error:
        raise InputError(f"--model: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=_PROGRAM,
        description=f"Classify files of texts: {FORMATS}. Each becomes a file of the same rows with their label and its"
        " probability. The same command goes on where one was stopped.",
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="files, and folders of such files")
    parser.add_argument("--model", required=True, type=Path, metavar="DIR", help="a version's folder, or a model's")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder of the outputs")
    parser.add_argument("--format", choices=_OUTPUTS, help="of the outputs (default: as the input; jsonl for text)")
    for name, what in (("text", "holds the texts"), ("label", "gets the labels"), ("probability", "gets theirs")):
        parser.add_argument(
            f"--{name}-column", default=name, metavar="NAME", help=f"column, or key, that {what} (default: %(default)s)"
        )
    parser.add_argument("--workers", type=_positive, metavar="N", help="engines (default: one for each CPU)")
    parser.add_argument("--address", metavar="HOST:PORT", help="a Ray cluster's, or auto (default: this machine alone)")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


_positive.__name__ = "number of workers"  # as argparse calls it in its error
