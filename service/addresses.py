"""Addresses to listen on and to connect to: IPv4, IPv6, host names, and Unix domain sockets.

`0.0.0.0` and `::` both mean every address of the machine, of IPv4 and IPv6: gRPC treats them alike, and so do all ports.
"""

import errno
import ipaddress
import re
import socket
from typing import Any

_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\.?")
_WILDCARDS = ("0.0.0.0", "::")  # nosec B104, compared only


def parse_host(text: str) -> str:
    """Returns a host as the socket functions take it: an IPv6 address without brackets.

    Raises:
        ValueError: it is neither an IP address nor a host name.
    """
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in bare:
        address, _, zone = bare.partition("%")
        return str(ipaddress.IPv6Address(address)) + (f"%{zone}" if zone else "")
    if bare != text or not _HOST_NAME.fullmatch(text):
        raise ValueError(text)
    if re.fullmatch(r"[0-9.]+", text):
        ipaddress.IPv4Address(text)
    return text


def joined(host: str, port: int) -> str:
    """Returns `host:port`, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def connectable(host: str) -> str:
    """Returns a host that a client on this machine can connect to."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # nosec B104, nothing is bound here


def is_wildcard(host: str) -> bool:
    """Tells whether a host means every address of the machine."""
    return host in _WILDCARDS


def resolve(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    """Returns the family and the socket address to listen on.

    Raises:
        OSError: the host has no address.
    """
    if is_wildcard(host):
        dual_stack = socket.has_dualstack_ipv6()
        return (socket.AF_INET6, ("::", port, 0, 0)) if dual_stack else (socket.AF_INET, ("0.0.0.0", port))  # nosec
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return family, address


def bound(host: str, port: int, *options: int) -> socket.socket:
    """Binds a TCP socket, which does not listen yet.

    Args:
        host: where to listen; a wildcard takes IPv4 and IPv6.
        port: 0: any free one.
        options: socket options to switch on, such as `SO_REUSEPORT`.

    Raises:
        OSError: the address is taken, or is not one of this machine.
    """
    family, address = resolve(host, port)
    bound_socket = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in options:
            bound_socket.setsockopt(socket.SOL_SOCKET, option, 1)
        if family == socket.AF_INET6:
            bound_socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not is_wildcard(host))
        bound_socket.bind(address)
    except OSError:
        bound_socket.close()
        raise
    return bound_socket


def why_not(error: OSError) -> str:
    """Returns why an address cannot be listened on, and what to do."""
    if isinstance(error, socket.gaierror):
        return f"{error.strerror}; use an IP address of this machine or a name that resolves to one"
    advice = {
        errno.EADDRINUSE: "is another server running there? Choose another port",
        errno.EADDRNOTAVAIL: "use an IP address of this machine",
        errno.EACCES: "ports below 1024 need a privilege: choose a larger one",
    }
    return f"{error.strerror}; {advice.get(error.errno or 0, 'choose another address')}"
