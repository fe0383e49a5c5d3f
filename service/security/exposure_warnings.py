"""Warnings at startup about unencrypted access and readable secrets."""

import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path

from service.address import UNIX
from service.config import Config


def exposures(config: Config) -> Iterator[str]:
    """Yields a sentence for each setting that exposes the server or its secrets."""
    for host in dict.fromkeys((config.host, config.metrics_host)):
        if config.tls_cert or is_loopback(host):
            continue
        tokens = ", tokens included" if config.tokens else ""
        yield (
            f"other machines can reach {host}, and the traffic{tokens} is not encrypted: set --tls-cert and --tls-key,"
            " or use a trusted network"
        )
    if config.capture:
        yield (
            f"texts of requests are stored in {config.capture}: whoever reads its files reads what your users sent;"
            " remove the files when they are labelled"
        )
    for path in (config.tokens, config.tls_key):
        if path and _is_readable_by_everyone(path):
            yield f"every user of this machine can read {path}: chmod o-r"


def is_loopback(host: str) -> bool:
    """Tells whether a host to listen on can be reached only from this machine."""
    if host.startswith(UNIX):
        return True
    try:
        addresses = {str(address[0]) for *_, address in socket.getaddrinfo(host.strip("[]"), None)}
    except OSError:
        return False  # listening on it fails with an error
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)


def _is_readable_by_everyone(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & 0o004)
    except OSError:
        return False
