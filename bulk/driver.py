"""The driver of a run: it starts workers that read and classify the files, and writes the outputs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.data import ActorPoolStrategy, DataContext
from rich.console import Console

from bulk.inputs import Columns, InputFile
from bulk.output_folder import OutputFile, OutputFolder
from bulk.results import BatchResult, from_block
from bulk.worker import FileClassifier
from textfiles import counted
from textfiles.progress import bytes_shown

_BLOCK_BYTES = 1 << 21
"""Size of a block of results from a worker."""


@dataclass
class Totals:
    """The totals of a run."""

    files: int = 0
    """Number of files with an output."""
    rows: int = 0
    rejected: int = 0
    misencoded: int = 0
    """Number of rejected rows that are not in the encoding of their file."""
    failed: int = 0
    """Number of files that could not be read to their end. They have no output."""


def run(
    version: Path,
    inputs: Sequence[InputFile],
    columns: Columns,
    *,
    thresholds: Sequence[float] | None = None,
    workers: int,
    outputs: OutputFolder,
    console: Console,
) -> Totals:
    """Classifies the files on the connected cluster. Reports files that cannot be read to their end, and goes on.

    If there are thresholds, one for each label, answers with a lower probability are marked.

    Raises:
        ray.exceptions.RayError: a worker failed for another reason than being killed.
    """
    totals = Totals()
    done = 0
    open_outputs: dict[int, OutputFile] = {}
    title = f"Classifying {counted(len(inputs), 'file')}"
    with bytes_shown(console, title, sum(input_.size for input_ in inputs)) as progress:
        try:
            for result in _results(version, inputs, columns, thresholds, workers):
                if result.number == 0:
                    open_outputs[result.input] = outputs.create(inputs[result.input])
                output = open_outputs[result.input]
                output.write(result)
                totals.misencoded += result.misencoded
                if result.is_last:
                    line = _finish(outputs, output, result.error, totals)
                    console.print(line, markup=False, highlight=False, soft_wrap=True)
                    del open_outputs[result.input]
                    done += output.input.size
                progress(done + sum(output.position for output in open_outputs.values()))
            if open_outputs or totals.files + totals.failed < len(inputs):
                raise RuntimeError("Ray ended before all files were classified")
        finally:
            for output in open_outputs.values():
                output.close()
    return totals


def _finish(outputs: OutputFolder, output: OutputFile, error: str, totals: Totals) -> str:
    """Publishes an output, or removes it if there is an error. Returns the line to print."""
    if error:
        output.close()
        totals.failed += 1
        return f"{error}: no output is written"
    outputs.publish(output)
    totals.files += 1
    totals.rows += output.rows
    totals.rejected += output.rejected
    return f"{output.path}: {counted(output.rows, 'row')}, {output.rejected:,} rejected"


def _results(
    version: Path, inputs: Sequence[InputFile], columns: Columns, thresholds: Sequence[float] | None, workers: int
) -> Iterator[BatchResult]:
    """Yields the results of all files. Those of one file are in order; those of different files are interleaved."""
    context = DataContext.get_current()
    context.target_max_block_size = _BLOCK_BYTES
    context.enable_progress_bars = False
    indices = ray.data.from_items(list(range(len(inputs))), override_num_blocks=len(inputs))
    results = indices.map_batches(
        FileClassifier,
        fn_constructor_args=(version, inputs, columns, thresholds),
        batch_size=None,
        batch_format="pyarrow",
        # One file at a time, so that no file waits for a busy worker while another worker is idle.
        compute=ActorPoolStrategy(size=min(workers, len(inputs)), max_tasks_in_flight_per_actor=1),
    )
    for block in results.iter_batches(batch_size=None, batch_format="pyarrow"):
        yield from from_block(block)
