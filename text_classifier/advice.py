"""Explains in one line why a call of the command failed, and what to do."""

import re
import socket
from collections.abc import Sequence

import grpc

_HTTP = "{address} speaks HTTP, not gRPC: give the server's gRPC port, 50051 by default"
_CONNECTION_FAULTS = {
    "http1.x": _HTTP,
    "Expected SETTINGS frame": _HTTP,
    "missing selected ALPN": _HTTP,
    "WRONG_VERSION_NUMBER": "the server at {address} does not speak TLS: leave out --tls and the other options of TLS",
    "certificate has expired": "the certificate of the server at {address} has expired: renew it there",
    "CERTIFICATE_VERIFY_FAILED": "the certificate of the server at {address} is not trusted: name the file of its"
    " authority with --tls-ca FILE",
    "Hostname Verification": "the certificate of the server is not for the host of {address}: use a name that the"
    " certificate has",
}
"""Parts of gRPC's messages about a failed connection, and what the command prints instead."""
_ENDED = re.compile(r"last error: .*(Socket closed|TSI_DATA_CORRUPTED|Connection reset)", re.DOTALL)
"""gRPC's messages if the server accepts a connection and closes it at once."""


_TEXT = re.compile(r"texts\[(\d+)\](?=: )")
"""The beginning of an error about one of a request's texts."""


def explain(
    error: grpc.RpcError, address: str, *, encrypted: bool, answers: int = 0, places: Sequence[str] = ()
) -> str:
    """Returns the reason and the advice for a failed call.

    Args:
        error: the error of the call.
        address: the address of the server.
        encrypted: whether the command uses TLS.
        answers: number of texts that were answered before.
        places: where the texts without an answer stand, in their order.
    """
    if "Cancelling all calls" in str(error.details()):  # CANCELLED or UNAVAILABLE, depending on the transport
        return f"the server at {address} is stopping, and has ended the call: try again when it runs"
    match error.code():
        case grpc.StatusCode.UNAVAILABLE:
            return _unavailable(str(error.details()), address, encrypted)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            found = "no answer" if not answers else f"only {answers:,} answer{'s' * (answers > 1)}"
            return f"{found} from {address} in time: increase --timeout"
        case grpc.StatusCode.UNAUTHENTICATED:
            return f"{address} requires a valid token: set --token-file or $TEXT_CLASSIFIER_TOKEN"
    return f"{error.code().name}: {_placed(str(error.details()), places)}"


def _placed(details: str, places: Sequence[str]) -> str:
    """Names the place of a text instead of its number within a request, which the reader does not see."""
    found = _TEXT.match(details)
    if not found or int(found[1]) >= len(places):
        return details
    return places[int(found[1])] + details[found.end() :]


def _unavailable(details: str, address: str, encrypted: bool) -> str:
    for part, meaning in _CONNECTION_FAULTS.items():
        if part.lower() in details.lower():
            return meaning.format(address=address)
    if _ENDED.search(details):
        if encrypted:
            return (
                f"the server at {address} seems to require a client certificate that it trusts: set --tls-cert and"
                " --tls-key"
            )
        return f"the server at {address} seems to use TLS: add --tls"
    if "Connection refused" in details and (found := _accepting(address)):
        return (
            f"no answer from {address}: one address of this name refuses connections, and the call to another, {found},"
            f" failed too: set --address {found} for the reason"
        )
    return f"no answer from {address}: {details}: check that the server runs there, or set --address"


def _accepting(address: str) -> str | None:
    """Returns the one of the addresses of a name, such as those of IPv4 and IPv6, that accepts connections."""
    host, _, port = address.rpartition("/")[2].removeprefix("dns:").rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1) as connection:
            found, *_ = connection.getpeername()
    except (OSError, ValueError):
        return None
    return f"[{found}]:{port}" if ":" in found else f"{found}:{port}"
