"""Reserving the addresses that the workers share, so that of two servers exactly one gets them."""

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
"""How long another server's start is waited for. It takes some microseconds."""


def reserve(host: str, port: int, option: str) -> socket.socket:
    """Takes a port for the workers: bound, so that it stays the server's own, but not listening.

    Raises:
        StartError: another process has it.
    """
    try:
        if port == 0:
            return bound_socket(host, 0, socket.SO_REUSEPORT)
        with _locked(f"port {port}"):
            # With SO_REUSEPORT the bind would succeed beside another server's. Without it, only if the port is free.
            bound_socket(host, port, socket.SO_REUSEADDR).close()
            return bound_socket(host, port, socket.SO_REUSEPORT)
    except OSError as error:
        raise StartError(f"cannot listen on {address(host, port)} ({option}): {why_not(error)}") from error


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """Holds a lock of all servers in this network namespace around the block, as far as it can be had in time.

    It is a name among the abstract Unix domain sockets: it needs no file, and ends with the process.
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
    """Takes the path of a Unix domain socket, for as long as the returned lock is open.

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
    """Removes a socket that nobody listens on, as a killed server leaves it.

    Raises:
        OSError: somebody does, or it is not a socket.
    """
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise FileExistsError(0, "the file exists and is not a socket")
    with socket.socket(socket.AF_UNIX) as client, suppress(ConnectionRefusedError):
        client.setblocking(False)
        with suppress(BlockingIOError):  # somebody listens, and accepts nothing
            client.connect(str(path))
        raise FileExistsError(0, "another process listens there")
    path.unlink()
