"""A process under measurement, and its descendants."""

import os
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """Returns the ids of a process and of its descendants."""
    found, new = [], [pid]
    while new:
        pid = new.pop()
        found.append(pid)
        with suppress(FileNotFoundError):  # the process has ended
            for task in Path(f"/proc/{pid}/task").iterdir():
                with suppress(FileNotFoundError, ProcessLookupError):  # or a thread of it
                    new += map(int, (task / "children").read_text().split())
    return found


def cpu_seconds(pid: int) -> float:
    """Returns the CPU time of the living processes so far, user and system."""
    ticks = 0
    for each in family(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS
