"""The number of CPUs that the server may use."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from service.config import Config
from service.process import supervisor
from service.process.cpus import available_cpus, worker_count
from tests.server_process import ROOT

ALL = len(os.sched_getaffinity(0))


def proc(folder: Path, kind: str, group: str, *, root: str = "/") -> Path:
    """A /proc/self of a process in a control group, which is mounted at `folder`/cgroup."""
    v2 = kind == "cgroup2"
    folder.joinpath("cgroup").write_text(f"0::{group}\n" if v2 else f"4:memory:/m\n3:cpu,cpuacct:{group}\n")
    options = "rw" if v2 else "rw,cpu,cpuacct"
    folder.joinpath("mountinfo").write_text(
        "21 20 0:19 / /proc rw shared:3 - proc proc rw\n"
        f"30 20 0:26 {root} {folder}/mount rw,nosuid shared:9 - {kind} cgroup {options}\n"
    )
    return folder


def set_quota(folder: Path, kind: str, quota: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "cgroup2":
        folder.joinpath("cpu.max").write_text(f"{quota if quota > 0 else 'max'} 100000\n")
    else:
        folder.joinpath("cpu.cfs_quota_us").write_text(f"{quota}\n")
        folder.joinpath("cpu.cfs_period_us").write_text("100000\n")


@pytest.mark.skipif(ALL < 2, reason="needs two CPUs")
@pytest.mark.parametrize("kind", ["cgroup", "cgroup2"])
@pytest.mark.parametrize(
    ("quota", "cpus"), [(-1, ALL), (1, 1), (50_000, 1), (100_000, 1), (100_001, 2), (10_000_000, ALL)]
)
def test_a_quota_is_rounded_up_and_the_affinity_bounds_it(kind: str, quota: int, cpus: int, tmp_path: Path) -> None:
    set_quota(tmp_path / "mount" / "pod" / "container", kind, quota)
    assert available_cpus(proc(tmp_path, kind, "/pod/container")) == cpus


@pytest.mark.skipif(ALL < 2, reason="needs two CPUs")
@pytest.mark.parametrize("kind", ["cgroup", "cgroup2"])
def test_the_least_quota_of_the_groups_above_counts(kind: str, tmp_path: Path) -> None:
    set_quota(tmp_path / "mount" / "pod", kind, 100_000)
    set_quota(tmp_path / "mount" / "pod" / "container", kind, -1)
    assert available_cpus(proc(tmp_path, kind, "/pod/container")) == 1


@pytest.mark.skipif(ALL < 2, reason="needs two CPUs")
@pytest.mark.parametrize("kind", ["cgroup", "cgroup2"])
@pytest.mark.parametrize(("group", "root"), [("/", "/"), ("/docker/a", "/docker/a"), ("/../elsewhere", "/docker/a")])
def test_a_container_finds_its_quota_where_its_group_is_mounted(
    kind: str, group: str, root: str, tmp_path: Path
) -> None:
    set_quota(tmp_path / "mount", kind, 100_000)
    assert available_cpus(proc(tmp_path, kind, group, root=root)) == 1


@pytest.mark.skipif(ALL < 2, reason="needs two CPUs")
@pytest.mark.parametrize(
    ("groups", "mount"),
    [
        ("4:memory:/\n", "cgroup2 cgroup rw"),
        ("4:memory:/\n", "cgroup cgroup rw,cpu"),
        ("4:cpu:/\n", "cgroup cgroup rw,memory"),
        ("4:cpuset:/\n", "cgroup cgroup rw,cpuset"),
        ("0::/\n", "cgroup cgroup rw,cpu"),
        ("0::/\n", "tmpfs cgroup rw"),
        ("4:cpu:/\n", "tmpfs cgroup rw,cpu"),
    ],
)
def test_a_group_has_its_quota_in_the_hierarchy_of_its_controller_alone(
    groups: str, mount: str, tmp_path: Path
) -> None:
    for kind in ("cgroup", "cgroup2"):
        set_quota(tmp_path / "mount", kind, 100_000)
    (tmp_path / "cgroup").write_text(groups)
    (tmp_path / "mountinfo").write_text(f"30 20 0:26 / {tmp_path}/mount rw,nosuid shared:9 - {mount}\n")
    assert available_cpus(tmp_path) == ALL


@pytest.mark.parametrize("text", ["", "garbage\n", "3:cpu:/x\n"])
def test_without_readable_control_groups_the_affinity_counts(text: str, tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text(text)
    assert available_cpus(tmp_path) == ALL
    (tmp_path / "mountinfo").write_text(text)
    assert available_cpus(tmp_path) == ALL


def test_a_process_in_a_real_group_with_a_quota_sees_it() -> None:
    group = Path(f"/sys/fs/cgroup/cpu/text-classifier-test-{os.getpid()}")  # other checkouts may be tested, too
    try:
        group.mkdir()
        (group / "cpu.cfs_quota_us").write_text("100000")
    except OSError:
        pytest.skip("needs a writable control group of version 1")
    try:
        program = f"import os; open('{group}/cgroup.procs', 'w').write(str(os.getpid()))"
        program += "\nfrom service.process.cpus import available_cpus; print(available_cpus())"
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
        assert done.stdout == "1\n"
    finally:
        group.rmdir()


def test_by_default_there_is_a_worker_for_each_available_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "available_cpus", lambda: 3)
    output: Any = SimpleNamespace(on_drop=None)
    for workers, expected in ((0, 3), (1, 1)):
        started = supervisor.Supervisor(Config(port=0, http_port=None, workers=workers), output)
        assert len(started._workers) == expected


def test_there_are_as_many_workers_as_asked_for_up_to_8_for_each_cpu() -> None:
    assert [worker_count(asked, 2) for asked in (0, 1, 16, 17, 1000)] == [2, 1, 16, 16, 16]
