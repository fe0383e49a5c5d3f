"""How much memory a process has had at most, from Linux's /proc."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.server_process import ServerProcess


class Growth:
    """Memory that a process takes during a block of code, in MiB. `peak` is set when the block ends."""

    peak = 0.0
    left = 0.0


@contextmanager
def growth(server: ServerProcess) -> Iterator[Growth]:
    """Measures how far the resident memory of a server's only worker rises during the block."""
    status = Path(f"/proc/{server.event('ready', process='worker 0')['pid']}/status")
    (status.parent / "clear_refs").write_text("5")  # the peak begins anew: proc(5)
    before, measured = _mib(status, "VmRSS"), Growth()
    yield measured
    measured.peak = _mib(status, "VmHWM") - before
    measured.left = _mib(status, "VmRSS") - before


def _mib(status: Path, name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB", status.read_text(), re.MULTILINE)
    assert found
    return int(found[1]) / 1024
