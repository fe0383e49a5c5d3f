"""Addresses to listen on and to connect to: IP addresses, host names, and Unix domain sockets as `unix:/path`.

`0.0.0.0` and `::` both mean every IPv4 and IPv6 address of the machine. gRPC treats them alike, and so do all other
ports.
"""

import errno
import ipaddress
import re
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote

UNIX = "unix:"
"""Prefix of a host that is the path of a Unix domain socket."""
BACKLOG = 2048
"""Maximum number of connections that wait in the kernel until they are accepted."""
_ANY = ("0.0.0.0", "::")  # nosec B104, only compared, not listened on
MAX_SOCKET_PATH = 107
"""Maximum length of a Unix domain socket's path in bytes, without the final zero: Linux's `sockaddr_un`."""
_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_][A-Za-z0-9_-]{0,62}(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\.?")


def parse_host(text: str) -> str:
    """Returns a host in the form that socket functions take: an IPv6 address without brackets.

    Raises:
        ValueError: the text is not an IP address, a host name, or `unix:` and a path.
    """
    if text.startswith(UNIX):
        if not 0 < len(text.removeprefix(UNIX).encode(errors="surrogateescape")) <= MAX_SOCKET_PATH:
            raise ValueError(text)
        return text
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in bare:
        ipaddress.IPv6Address(bare)
        return bare
    if bare != text or not _HOST_NAME.fullmatch(text):
        raise ValueError(text)
    if re.fullmatch(r"[0-9.]+", text):
        ipaddress.IPv4Address(text)
    return text


def socket_path(host: str) -> Path | None:
    """Returns the path of a host that is a Unix domain socket; None for other hosts."""
    return Path(host.removeprefix(UNIX)) if host.startswith(UNIX) else None


def address(host: str, port: int) -> str:
    """Returns `host:port`, with an IPv6 address in brackets; for a Unix domain socket, `unix:/path` without a port."""
    if host.startswith(UNIX):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def grpc_target(host: str, port: int) -> str:
    """Returns the address as a gRPC target: the path of a Unix domain socket is percent-encoded."""
    path = socket_path(host)
    return f"{UNIX}{quote(str(path))}" if path else address(host, port)


def connectable(host: str) -> str:
    """Returns the host to connect to, on this machine, for a host to listen on."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # nosec B104, nothing is bound here


def listening_socket(host: str, port: int, *, shared: bool) -> socket.socket:
    """Opens a listening TCP socket.

    Args:
        host: a name or an IP address.
        port: the port; 0: any free one.
        shared: whether other processes may listen on the same port.

    Raises:
        OSError: the address is taken, or does not belong to this machine.
    """
    options = (socket.SO_REUSEADDR, socket.SO_REUSEPORT) if shared else (socket.SO_REUSEADDR,)
    listener = bound_socket(host, port, *options)
    listener.listen(BACKLOG)
    return listener


def bound_socket(host: str, port: int, *options: int) -> socket.socket:
    """Binds a TCP socket that does not listen yet.

    Args:
        host: a name or an IP address.
        port: the port; 0: any free one.
        options: socket options to switch on, such as `SO_REUSEPORT`.

    Raises:
        OSError: the address is taken, or does not belong to this machine.
    """
    family, name = _resolve(host, port)
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in options:
            bound.setsockopt(socket.SOL_SOCKET, option, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host not in _ANY)
        bound.bind(name)
    except OSError:
        bound.close()
        raise
    return bound


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    if host in _ANY and socket.has_dualstack_ipv6():
        return socket.AF_INET6, ("::", port)
    family, _, _, _, name = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return family, name


def why_not(error: OSError) -> str:
    """Returns why an address cannot be listened on, and what to do."""
    if isinstance(error, socket.gaierror):
        return f"{error.strerror}; use an IP address of this machine, or a name that resolves to one"
    advice = {
        errno.EADDRINUSE: "is another server running there? Choose another port",
        errno.EADDRNOTAVAIL: "use an IP address of this machine",
        errno.EACCES: "ports below 1024 need a privilege: choose a larger one",
    }
    return f"{error.strerror}; {advice.get(error.errno or 0, 'choose another address')}"
