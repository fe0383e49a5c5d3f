"""The limit of open files: raised as far as the system allows, and checked before the server's processes start."""

import resource

from service.errors import StartError

_NEEDED = 64
"""Open files with which a worker starts and loads a few models: 33 with the three shipped ones."""
_ENOUGH = 1024
"""Open files of a worker for 500 HTTP connections, and about as many of gRPC."""


def raise_limit(children: int) -> str | None:
    """Raises the soft limit of open files to the hard one, for this process and those that it forks.

    Args:
        children: number of processes to fork, to each of which this process has a connection.

    Returns:
        A sentence about a limit that holds up clients; None if it is high enough.

    Raises:
        StartError: the limit is too low for the server to start.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    needed = _NEEDED + children
    if hard == resource.RLIM_INFINITY or hard >= max(needed, _ENOUGH):
        return None
    advice = f"the limit of open files is {hard}: raise it to {_ENOUGH} or more (ulimit -Hn, or LimitNOFILE of systemd)"
    if hard < needed:
        raise StartError(f"{advice}; this server needs {needed} to start")
    return f"{advice}; new connections may have to wait, or replace idle ones"
