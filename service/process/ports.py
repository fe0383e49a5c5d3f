"""Reserves the addresses that the workers share, so that exactly one of several servers gets them."""

import errno
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from service.address import address, bound_socket, why_not
from service.errors import StartError

_LOCK_SECONDS = 2.0
"""Maximum time to wait for another server that reserves the same port. It needs only microseconds."""


def reserve(host: str, port: int, option: str) -> socket.socket:
    """Reserves a port for the workers. The returned socket is bound, which keeps the port for this server, but does not
    listen.

    Raises:
        StartError: another process uses the port, or the address is wrong.
    """
    try:
        if port == 0:
            return bound_socket(host, 0, socket.SO_REUSEPORT)
        with _locked(f"port {port}"):
            # With SO_REUSEPORT, the bind succeeds even if another server has the port. Without, only if it is free.
            bound_socket(host, port, socket.SO_REUSEADDR).close()
            return bound_socket(host, port, socket.SO_REUSEPORT)
    except OSError as error:
        raise StartError(f"cannot listen on {address(host, port)} ({option}): {why_not(error)}") from error


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """Holds a lock during the block, against other servers in this network namespace. Goes on without it after
    `_LOCK_SECONDS`.

    The lock is an abstract Unix domain socket, which needs no file and ends with the process.
    """
    with socket.socket(socket.AF_UNIX) as lock:
        end = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                lock.bind(_abstract(name))
                break
            except OSError:
                if time.monotonic() > end:
                    break
                time.sleep(0.001)
        yield


def _abstract(name: str) -> bytes:
    return b"\0text-classifier-server " + name.encode()


def reserve_unix_socket(path: Path) -> socket.socket:
    """Reserves the path of a Unix domain socket while the returned lock is open.

    Raises:
        StartError: another process listens there, or the path cannot be used.
    """
    where = f"cannot listen on unix:{path} (--host)"
    lock = socket.socket(socket.AF_UNIX)
    try:
        folder = path.parent.stat()
        lock.bind(_abstract(f"socket {folder.st_dev}:{folder.st_ino}/{path.name}")[:108])
        if path.exists():
            _remove_unused(path)
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(0, "its folder is not writable")
    except OSError as error:
        lock.close()
        reason = "another server listens there" if error.errno == errno.EADDRINUSE else error.strerror
        raise StartError(f"{where}: {reason}; choose another path") from error
    return lock


def _remove_unused(path: Path) -> None:
    """Removes a socket that no process listens on, such as that of a killed server.

    Raises:
        OSError: a process listens on it, or the file is not a socket.
    """
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise FileExistsError(0, "the file exists and is not a socket")
    with socket.socket(socket.AF_UNIX) as client, suppress(ConnectionRefusedError):
        client.setblocking(False)
        with suppress(BlockingIOError):  # a process listens but does not accept
            client.connect(str(path))
        raise FileExistsError(0, "another process listens there")
    path.unlink()
