"""Runs commands with mounts of their own: disks that are full or read-only for them alone."""

import subprocess
from collections.abc import Sequence

import pytest


def with_mounts(script: str, *arguments: str) -> Sequence[str]:
    """The words to put before a command, for it to run, as the same process, after a script that mounts for it.

    Args:
        script: what sh runs first. It has the arguments as "$0", "$1" and so on.
        arguments: for the script.

    Skips the test where nobody may mount.
    """
    words = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    words += [f'{script} && shift {len(arguments) - 1} && exec "$@"', *arguments]
    probe = subprocess.run([*words, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"needs the right to mount: {probe.stderr}")
    return words
