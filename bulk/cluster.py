"""What a cluster's machines need to have before they can begin."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bulk.inputs import Job
from textfiles import InputError
from textmodel import ModelError, VersionFolder
from textmodel.metadata import Metadata


def check_nodes(folder: VersionFolder, jobs: Iterable[Job]) -> None:
    """Checks that each machine of the connected cluster has this package, the version and the inputs.

    Raises:
        InputError: one has not.
    """
    arguments = folder.path, folder.metadata, {job.input.path: job.size for job in jobs}
    lack = ray.remote(_lack)
    asked = [
        (
            node["NodeManagerAddress"],
            lack.options(num_cpus=0, scheduling_strategy=_at(node["NodeID"])).remote(*arguments),
        )
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"] and node["Resources"].get("CPU")
    ]
    for address, answer in asked:
        try:
            reason = ray.get(answer)
        except RayError as error:
            reason = str(getattr(error, "cause", error))
        if reason:
            raise InputError(
                f"node {address}: {reason}: each machine of the cluster needs this package, the model and the inputs,"
                " all at the same paths"
            )


def _at(node: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node, soft=False)


def _lack(version: Path, metadata: Metadata, inputs: Mapping[Path, int]) -> str:
    """Returns what is not here as it is where the command runs; nothing if all is."""
    try:
        if VersionFolder(version).metadata != metadata:
            return f"{version} is another version"
        for path, size in inputs.items():
            if path.stat().st_size != size:
                return f"{path} is another file"
    except ModelError as error:
        return str(error)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return ""
