import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest

from tests.server_process import ROOT


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The address of a Ray cluster of this machine's processes, in which two workers and their readers fit."""
    folder = tempfile.mkdtemp(prefix="ray-")  # a short path: sockets have their names in it
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--temp-dir={folder}"]
    numbers = ["--port=0", "--num-cpus=3", f"--object-store-memory={300 << 20}"]
    quiet = ["--include-dashboard=false", "--disable-usage-stats"]
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "0")
        environment.setenv("RAY_AUTH_MODE", "token")
        environment.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        head = subprocess.Popen([*command, *numbers, *quiet], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert head.stdout
        try:
            yield next(found[1] for line in head.stdout if (found := re.search(r"--address='(.*)'", line)))
        finally:
            head.terminate()
            head.communicate(timeout=60)
            shutil.rmtree(folder, ignore_errors=True)
