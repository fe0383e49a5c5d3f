"""The commands `select` and `check` of `text-classifier-train`: which texts to label next, and which labels are
probably wrong.
"""

import argparse
import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textfiles import FORMATS, InputError, counted
from textfiles.command import add_read_options, read_options
from textmodel.names import is_model_name
from training.evaluation_commands import version_of
from training.options import (
    add_bad_rows,
    add_files,
    add_labelled_files,
    add_models,
    add_version,
    check_files,
    labelled_files,
    output_file,
)
from training.whole_file import written_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console
    from rich.table import Table

    from training.data.bad_rows import BadRows
    from training.data.labelled_file import LabelledFile, LabelledFiles, LabelledText
    from training.data.pool import PoolText
    from training.evaluation.acquisition import Candidate, Unlabelled
    from training.evaluation.label_check import Suspect

_KINDS = ("margin", "disagreement")
_SHOWN = 20
"""Number of rows that `check` shows."""
_EXCERPT = 300
"""Maximum number of characters that `check` shows of a row's text."""
_WIDTH = 24
"""Maximum width of a label on the terminal, in characters."""


def add_select(command: argparse.ArgumentParser) -> None:
    """Adds the options of `select`, and sets `run` to the function that takes the parsed options."""
    command.description = (
        "Choose the texts to label next from a pool without labels: those whose two highest probabilities are closest"
        " (margin), or those to which two versions give different labels, the surest first (disagreement). Of"
        " near-duplicates one is chosen, and what a version has learned is left out. The result is a file for"
        " annotation tools: .jsonl, JSON Lines as Prodigy reads them, or .json, an array as Label Studio reads it."
    )
    add_files(command, "--pool", f"texts, in one file or several; -: standard input. {FORMATS}", required=True)
    add_files(
        command,
        "--labelled",
        "files of texts that have a label already, such as those of earlier rounds: these texts are not chosen",
        default=[],
    )
    command.add_argument(
        "--text-column", default="text", metavar="NAME", help="column, or key, of the texts (default: %(default)s)"
    )
    add_version(command)
    command.add_argument(
        "--other-version",
        type=int,
        metavar="N",
        help="disagreement: the version to compare with (default: the shadow version)",
    )
    command.add_argument("--by", choices=_KINDS, default="margin", help="the criterion (default: %(default)s)")
    command.add_argument(
        "--count", type=_count, default=200, metavar="N", help="number of texts (default: %(default)s)"
    )
    command.add_argument(
        "--output",
        required=True,
        type=output_file(".jsonl", ".json"),
        metavar="FILE",
        help="the file to write, .jsonl or .json",
    )
    add_bad_rows(command)
    add_read_options(command)
    add_models(command)
    command.set_defaults(run=_select)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 100,000")
    return int(text)


def _select(options: dict[str, Any]) -> None:
    # Imported here, so that help and wrong options do not wait for them.
    from training.data.bad_rows import BadRows  # noqa: PLC0415
    from training.evaluation.acquisition import Unlabelled, by_disagreement, by_margin, choose  # noqa: PLC0415
    from training.evaluation.version_evaluation import LoadedVersion  # noqa: PLC0415

    check_files(options)
    version, *other = versions = [LoadedVersion(path) for path in _versions(options)]
    # Opened first: a file that cannot be written is an error before the work.
    with written_whole(options["output"]) as write, BadRows(options["bad_rows"]) as bad_rows:
        unlabelled = Unlabelled(versions, _texts(options, "labelled", bad_rows))
        texts = unlabelled.of(_texts(options, "pool", bad_rows))
        candidates = by_disagreement(version, other[0], texts) if other else by_margin(version, texts)
        chosen = choose(candidates, options["count"])
        if not chosen:
            reason = _none_left(unlabelled, by_disagreement=bool(other))
            raise InputError(f"no text was chosen: {reason}: give another pool")
        write(_tasks(chosen, is_array=options["output"].suffix == ".json"))
    if unlabelled.left_out:
        print(
            f"Left out {counted(unlabelled.left_out, 'text')} of the pool that a version has learned or that are in"
            " --labelled."
        )
    fewer = f": the pool has no more, of {options['count']:,} asked for" if len(chosen) < options["count"] else ""
    print(f"Wrote {counted(len(chosen), 'text')} to {options['output']}{fewer}")


def _none_left(unlabelled: "Unlabelled", *, by_disagreement: bool) -> str:
    """Returns the reason why no text of a pool is left to choose from."""
    if not unlabelled.texts:
        return "the pool has no text"
    without_label = unlabelled.texts - unlabelled.left_out
    if not without_label:
        return f"each text of the pool ({unlabelled.texts:,}) is learned by a version or in --labelled"
    those = f"the {counted(without_label, 'text')} of the pool without a label"
    return f"no word is in {those}, or the versions agree" if by_disagreement else f"no word is in {those}"


def _versions(options: dict[str, Any]) -> list[Path]:
    """Returns the folder of the version, and, with `--by disagreement`, that of the other version."""
    if not is_model_name(options["model"]):
        raise InputError(f"--model {options['model']!r} is no name of a model")
    path = version_of(options["models"], options["model"], options["version"])
    other = options["other_version"]
    if options["by"] == "margin":
        if other is not None:
            raise InputError("--other-version needs --by disagreement")
        return [path]
    if other is None:
        from textmodel.version_folder import shadow_version  # noqa: PLC0415

        other = shadow_version(options["models"] / options["model"])
    if other is None:
        raise InputError("--by disagreement needs --other-version: the model has no shadow version")
    compared = version_of(options["models"], options["model"], other)
    if compared == path:
        raise InputError(f"--other-version {other} is the version itself: name another")
    return [path, compared]


def _texts(options: dict[str, Any], name: str, bad_rows: "BadRows") -> "Iterator[PoolText]":
    from training.data.pool import PoolFile, pool_texts  # noqa: PLC0415

    reading = read_options(options)
    return pool_texts([PoolFile(path, options["text_column"], reading) for path in options[name]], bad_rows)


def _tasks(chosen: "Sequence[Candidate]", *, is_array: bool) -> bytes:
    """Returns JSON objects with the key `text`, and with the prediction under the key `meta`, for annotators."""
    import msgspec  # noqa: PLC0415, help needs no installed package

    tasks = [
        msgspec.json.encode(
            {
                "text": each.text.text,
                "meta": {
                    "file": str(each.text.file),
                    "line": each.text.number,
                    "predicted": list(each.labels),
                    "probability": [round(probability, 6) for probability in each.probabilities],
                },
            }
        )
        for each in chosen
    ]
    return b"[\n" + b",\n".join(tasks) + b"\n]\n" if is_array else b"".join(task + b"\n" for task in tasks)


def add_check(command: argparse.ArgumentParser) -> None:
    """Adds the options of `check`, and sets `run` to the function that takes the parsed options."""
    command.description = (
        "List the rows whose label may be wrong, the most probable first: those with the same text as others and"
        " another label, and those whose label a classifier finds unlikely that has not learned them"
        " (cross-validation). The exit status is 0 whatever is found."
    )
    add_labelled_files(command)
    command.add_argument(
        "--output",
        type=output_file(".jsonl", ".csv"),
        metavar="FILE",
        help="write all these rows to this file, .jsonl or .csv (default: only show the first on the terminal)",
    )
    command.set_defaults(run=_check)


def _check(options: dict[str, Any]) -> None:
    from rich.console import Console  # noqa: PLC0415

    files = labelled_files(options, options["data"])
    console = Console(soft_wrap=True, markup=False, highlight=False)
    if output := options["output"]:
        # Opened first: a file that cannot be written is an error before the work.
        with written_whole(output) as write:
            suspects = _checked(options, files, console)
            write((_csv if output.suffix == ".csv" else _json_lines)(suspects))
        console.print(f"Wrote {counted(len(suspects), 'row')} to {output}")
    elif len(_checked(options, files, console)) > _SHOWN:
        console.print(f"Shown are the first {_SHOWN}: --output FILE writes all.")


def _checked(options: dict[str, Any], files: "LabelledFiles", console: "Console") -> "Sequence[Suspect]":
    """Checks the labels of files and shows the first rows to look at. Returns all of these rows."""
    from training.data.bad_rows import BadRows  # noqa: PLC0415
    from training.evaluation import label_check  # noqa: PLC0415

    with BadRows(options["bad_rows"]) as bad_rows:
        rows = label_check.read(files, bad_rows, console)
    result = label_check.check(rows, console)
    if result.suspects:
        console.print(_table(result.suspects[:_SHOWN], several_files=len(files.files) > 1), soft_wrap=False)
    console.print(result.sentence())
    for note in result.notes():
        console.print(note)
    return result.suspects


def _table(suspects: "Sequence[Suspect]", *, several_files: bool) -> "Table":
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from training.evaluation.shown_labels import visible  # noqa: PLC0415

    def place(file: "LabelledFile", row: "LabelledText") -> str:
        return f"{file.name}: {row.number:,}" if several_files else f"{row.number:,}"

    table = Table(expand=True)
    for name in (suspects[0].file.unit, "label", "suggested", "P(wrong)"):
        table.add_column(name, no_wrap=True, max_width=_WIDTH)
    table.add_column("text", no_wrap=True, overflow="ellipsis", ratio=1)
    for suspect in suspects:
        same = f"(as {suspect.file.unit} {place(*suspect.same_text)}) " if suspect.same_text else ""
        table.add_row(
            Text(place(suspect.file, suspect.row)),
            Text(visible(suspect.row.label)),
            Text(visible(suspect.suggested)),
            f"{suspect.probability:.3f}",
            Text(same + _one_line(suspect.row.text[:_EXCERPT])),
        )
    return table


def _one_line(text: str) -> str:
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def _json_lines(suspects: "Sequence[Suspect]") -> bytes:
    import msgspec  # noqa: PLC0415

    return b"".join(msgspec.json.encode(_fields(suspect)) + b"\n" for suspect in suspects)


def _csv(suspects: "Sequence[Suspect]") -> bytes:
    content = io.StringIO(newline="")
    writer = csv.writer(content)
    writer.writerow(("file", "line", "label", "suggested", "probability", "same_text", "text"))
    writer.writerows(_fields(suspect).values() for suspect in suspects)
    return content.getvalue().encode()


def _fields(suspect: "Suspect") -> "Mapping[str, str | int | float]":
    return {
        "file": str(suspect.file),
        "line": suspect.row.number,
        "label": suspect.row.label,
        "suggested": suspect.suggested,
        "probability": round(suspect.probability, 6),
        "same_text": f"{same[0]}: {same[1].number}" if (same := suspect.same_text) else "",
        "text": suspect.row.text,
    }
