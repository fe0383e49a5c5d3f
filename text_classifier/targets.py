"""Checks a server's address and a call's timeout early, since gRPC would fail later, or elsewhere."""

import ipaddress
import re
from urllib.parse import unquote

import grpc

_SCHEME = re.compile(r"(dns|ipv4|ipv6|unix|unix-abstract|vsock|xds|google-c2p):(?!\d+$)")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_HOST = re.compile(r"[^\s/:,\[\]]+")
MAX_TIMEOUT = 1e9
"""Longest timeout in seconds, about 31 years. gRPC's arithmetic overflows at longer ones: the call expires at once."""
_EXAMPLE = "give host and port, as 127.0.0.1:50051"
_EXAMPLES = {"ipv4": "ipv4:10.0.0.1:50051,10.0.0.2:50051", "ipv6": "ipv6:[::1]:50051"}


def check_credentials(credentials: grpc.ChannelCredentials | None) -> None:
    """Checks that credentials are gRPC's: others, such as an empty string, must not mean that nothing is encrypted.

    Raises:
        TypeError: they are not.
    """
    if credentials is not None and not isinstance(credentials, grpc.ChannelCredentials):
        raise TypeError(
            f"credentials is {type(credentials).__name__}, not grpc.ChannelCredentials: call"
            " grpc.ssl_channel_credentials"
        )


def check_address(address: str, *, encrypted: bool) -> None:
    """Checks the address of a server: host and port, or a gRPC target with a scheme.

    Args:
        address: the address.
        encrypted: whether TLS is used. Only then may the port be missing: gRPC takes 443.

    Raises:
        TypeError: the address is not a string.
        ValueError: the address is invalid.
    """
    if not isinstance(address, str):
        raise TypeError(f"address is {type(address).__name__}, not str: {_EXAMPLE}")
    if not address.strip():
        raise ValueError(f"the address is empty: {_EXAMPLE}")
    scheme = _SCHEME.match(address)
    if scheme is None and _URL.match(address):
        raise ValueError(f"the address {address!r} is a URL: {_EXAMPLE}, the port of gRPC")
    match scheme and scheme[1]:
        case None:
            _check_host_and_port(address, address, encrypted)
        case "dns":
            _check_host_and_port(address.rpartition("/")[2].removeprefix("dns:"), address, encrypted)
        case "ipv4" | "ipv6" as family:
            for each in address.partition(":")[2].split(","):
                _check_ip_and_port(unquote(each), address, family, encrypted)
        case _ if not address.partition(":")[2].strip("/"):
            raise ValueError(f"the address {address!r} has nothing behind its scheme: {_EXAMPLE}, or unix:/path")
        case _:
            pass  # gRPC checks it


def _check_host_and_port(text: str, address: str, encrypted: bool) -> None:
    host, port = _split(text)
    if host.startswith("["):
        _check_ip(host[1:-1], address, "ipv6")
    elif not _HOST.fullmatch(host):
        hint = ""
        if "," in text:
            hint = f"; for several servers give a name in DNS, or {_EXAMPLES['ipv4']}"
        elif text.count(":") > 1:
            hint = f"; write an IPv6 address in brackets, as {_bracketed(text)}"
        raise ValueError(f"the address {address!r} is no host and port: {_EXAMPLE}{hint}")
    _check_port(port, address, encrypted)


def _check_ip_and_port(text: str, address: str, family: str, encrypted: bool) -> None:
    host, port = _split(text)
    _check_ip(host.strip("[]"), address, family)
    _check_port(port, address, encrypted)


def _split(text: str) -> tuple[str, str]:
    """Splits host and port. The port is empty if there is none."""
    if text.startswith("[") and "]" in text:
        host, _, rest = text.partition("]")
        return f"{host}]", rest.removeprefix(":") if rest.startswith(":") else rest
    host, _, port = text.partition(":")
    return (text, "") if ":" in port else (host, port)


def _bracketed(text: str) -> str:
    """Returns an IPv6 address with the brackets that it lacks. If its last part may be a port, it is taken as one."""
    host, _, port = text.rpartition(":")
    try:
        ipaddress.IPv6Address(host)
        _check_port(port, text, encrypted=False)
    except ValueError:
        return f"[{text}]:50051"
    return f"[{host}]:{port}"


def _check_ip(host: str, address: str, family: str) -> None:
    kind = ipaddress.IPv4Address if family == "ipv4" else ipaddress.IPv6Address
    try:
        kind(host)
    except ValueError as error:
        raise ValueError(
            f"the address {address!r}: {host!r} is no {family} address: give {_EXAMPLES[family]}"
        ) from error


def _check_port(port: str, address: str, encrypted: bool) -> None:
    if not port and not encrypted:
        raise ValueError(f"the address {address!r} has no port, and gRPC would take 443: {_EXAMPLE}")
    if port and not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise ValueError(f"the address {address!r}: {port!r} is no port, 1 to 65535")


def check_timeout(timeout: float | None) -> float | None:
    """Checks a timeout in seconds, and returns it.

    Raises:
        TypeError: the timeout is not a number.
        ValueError: the timeout is not above 0, or exceeds `MAX_TIMEOUT`.
    """
    if timeout is None:
        return None
    if not isinstance(timeout, (int, float)) or isinstance(timeout, bool):
        raise TypeError(f"timeout is {type(timeout).__name__}, not a number of seconds")
    if not 0 < timeout <= MAX_TIMEOUT:
        raise ValueError(
            f"timeout is {timeout}: give a number of seconds above 0, at most {MAX_TIMEOUT:.0f}, or None for no"
            " deadline"
        )
    return timeout
