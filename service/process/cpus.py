"""The number of CPUs that this process may use, by its affinity and its control group's CPU quota, and of workers.

Formats: docs.kernel.org/admin-guide/cgroup-v2.html (cpu.max) and .../scheduler/sched-bwc.html (cpu.cfs_quota_us).
"""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

_WORKERS_PER_CPU = 8
"""Each worker takes memory and the time of its start; a CPU has no use for many."""


def worker_count(asked: int, cpus: int) -> int:
    """Returns the number of workers for an option: one for each CPU if it is 0, and at most 8 for each."""
    return min(asked, _WORKERS_PER_CPU * cpus) or cpus


def available_cpus(proc: Path = Path("/proc/self")) -> int:
    """Returns the number of CPUs in the affinity, or the CPU quota, rounded up, if that is less. It is at least 1."""
    return max(1, min([len(os.sched_getaffinity(0)), *(math.ceil(quota) for quota in _quotas(proc))]))


def _quotas(proc: Path) -> Iterator[float]:
    """Yields the quotas, in CPUs, of the process's control groups and of those above them."""
    with suppress(OSError, ValueError):  # without /proc, or with an unknown format, only the affinity counts
        groups = [line.split(":", 2) for line in (proc / "cgroup").read_text().splitlines()]
        mounts = [line.split() for line in (proc / "mountinfo").read_text().splitlines()]
        for _, controllers, group in groups:
            for root, mount in _mounts(mounts, controllers.split(",")):
                yield from _quotas_up(root, mount, PurePosixPath(group))


def _mounts(mounts: list[list[str]], controllers: list[str]) -> Iterator[tuple[PurePosixPath, Path]]:
    """Yields the root and the mount point of the hierarchies that limit CPU: cgroup2, which names no controller, or the
    controller `cpu` of version 1.
    """
    for fields in mounts:
        kind, _, options = fields[fields.index("-") + 1 :][:3]
        if (kind == "cgroup2" and controllers == [""]) or (
            kind == "cgroup" and "cpu" in controllers and "cpu" in options.split(",")
        ):
            yield PurePosixPath(fields[3]), Path(fields[4])


def _quotas_up(root: PurePosixPath, mount: Path, group: PurePosixPath) -> Iterator[float]:
    # A container may see its group under the host's path, but mounted as the root.
    inside = group.relative_to(root) if group.is_relative_to(root) else PurePosixPath()
    for folder in (inside, *inside.parents):
        with suppress(OSError, ValueError):
            yield _quota(mount / folder)


def _quota(folder: Path) -> float:
    """Returns a control group's quota in CPUs.

    Raises:
        OSError: the group has no such files.
        ValueError: the group has no quota.
    """
    if (folder / "cpu.max").exists():
        quota, period = (folder / "cpu.max").read_text().split()
    else:
        quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
    if int(quota) <= 0 or int(period) <= 0:  # no quota is -1, or "max", for which `int` raises ValueError
        raise ValueError
    return int(quota) / int(period)
