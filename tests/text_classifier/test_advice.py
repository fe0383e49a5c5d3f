"""The advice for failures that gRPC reports in one of several ways, by chance."""

import socket

import grpc
import pytest

from text_classifier.advice import explain


class Refused(grpc.RpcError):
    """The error of a call to a name whose last address refuses connections."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return "last error: UNKNOWN: ipv6:%5B::1%5D:5: Failed to connect to remote host: Connection refused"


@pytest.mark.parametrize("scheme", ["", "dns:", "dns:///"])
def test_an_address_of_a_name_that_does_not_refuse_connections_is_named(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        line = explain(Refused(), f"{scheme}localhost:{port}", encrypted=True)
        assert line.endswith(f"set --address 127.0.0.1:{port} for the reason")


@pytest.mark.parametrize("address", ["localhost:1", "ipv4:127.0.0.1:1,127.0.0.2:1", "unix:/nowhere", "[::1]:1"])
def test_without_such_an_address_the_refusal_is_told(address: str) -> None:
    assert "Connection refused: check that the server runs there" in explain(Refused(), address, encrypted=False)
