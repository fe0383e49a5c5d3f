"""An address of this process alone, for servers whose port has to be known before they start.

A port of 127.0.0.1 that was free a moment ago may be taken by then: another process listens there, or a client's
connection begins there.
"""

import os
import socket

_PID = os.getpid()
OWN_HOST = f"127.{64 + (_PID >> 16)}.{_PID >> 8 & 255}.{_PID & 255}"


def free_port() -> int:
    """Returns a port of `OWN_HOST` that nobody listens on."""
    with socket.create_server((OWN_HOST, 0)) as free:
        port: int = free.getsockname()[1]
    return port
