"""Checks the host names of HTTP requests, against DNS rebinding.

The host name of a malicious page may resolve to 127.0.0.1. Then the page has the same origin as this server. But its
requests still name the page's host.
"""

import re
from collections.abc import Sequence

from service.security.exposure_warnings import is_loopback

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]+)?")
"""A Host header: an IPv6 address in brackets, or a name or IPv4 address; and optionally a port."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class AllowedHosts:
    """The hosts that requests may name.

    Args:
        listening: the host that the server listens on.
        configured: the hosts to allow; `*`: all. Empty: the loopback names if the server listens on loopback, otherwise
            all.
    """

    def __init__(self, listening: str, configured: Sequence[str] = ()) -> None:
        self.known: frozenset[str] | None = None
        """The allowed hosts in lower case; None: all."""
        if configured:
            self.known = None if "*" in configured else frozenset(map(_bare, configured))
        elif is_loopback(listening):
            self.known = frozenset((*_LOOPBACK, _bare(listening)))

    def allow(self, header: str) -> bool:
        """Tells whether a Host header names an allowed host."""
        if self.known is None:
            return True
        name = host_name(header)
        return name is not None and _bare(name) in self.known


def host_name(header: str) -> str | None:
    """Returns the host of a Host header, without its port; None if the header is malformed. IPv6 keeps its brackets."""
    found = _HOST.fullmatch(header)
    return found[1] if found else None


def _bare(host: str) -> str:
    return host.lower().strip("[]").rstrip(".")
