"""Addresses to listen on, as text and as sockets."""

import socket

UNIX = "unix:"
"""How a host begins that is the path of a Unix socket."""
_ANY = ("0.0.0.0", "::")  # nosec B104, compared with, not listened on


def address(host: str, port: int) -> str:
    """Returns `host:port`, with an IPv6 address in brackets; of a Unix socket its `unix:/path` alone."""
    if host.startswith(UNIX):
        return host
    bare = host.strip("[]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"


def listening_socket(host: str, port: int, *, shared: bool) -> socket.socket:
    """Opens a socket that listens. Every address means those of IPv6 and IPv4, as gRPC understands it.

    Args:
        host: a name or an address, of IPv6 with or without brackets.
        port: the port; 0: any free one.
        shared: whether other processes may listen on the same port.

    Raises:
        OSError: the address cannot be listened on.
    """
    bare = host.strip("[]")
    if bare in _ANY and socket.has_dualstack_ipv6():
        return socket.create_server(
            ("::", port), family=socket.AF_INET6, dualstack_ipv6=True, reuse_port=shared, backlog=BACKLOG
        )
    family, *_, name = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM)[0]
    return socket.create_server(name[:2], family=family, reuse_port=shared, backlog=BACKLOG)


BACKLOG = 2048
"""Connections that the kernel keeps until they are accepted."""
