import errno
import os
import socket
from pathlib import Path

import pytest

from service.address import address, bound_socket, connectable, listening_socket, parse_host, socket_path, why_not


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "localhost",
        "_dmarc.a-b.example.",
        "a",
        "a" * 63,
        ".".join(["a" * 63] * 3 + ["a" * 61]),  # 253 characters
        "::",
        "fe80::1",
        "unix:x",
        "unix:/" + "x" * 106,
        "unix:/" + "é" * 53,
    ],
)
def test_a_host_is_an_address_a_name_or_a_socket(text: str) -> None:
    assert parse_host(text) == text


def test_an_ipv6_address_may_have_brackets() -> None:
    assert parse_host("[::1]") == "::1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a b",
        "-a",
        "a..b",
        ".a",
        "a" * 64,
        "a." + "b" * 64,
        ".".join(["a" * 63] * 3 + ["a" * 62]),
        "1.2.3",
        "256.0.0.1",
        "[127.0.0.1]",
        "[a]",
        "[::1",
        "::1]",
        "::g",
        "127.0.0.1:80",
        "unix:",
        "unix:/" + "x" * 107,
        "unix:/" + "é" * 54,
    ],
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011, argparse gives its own message
        parse_host(text)


def test_only_a_unix_host_is_a_path() -> None:
    assert socket_path("unix:/run/x") == Path("/run/x")
    assert socket_path("localhost") is None


def test_an_address_has_brackets_around_ipv6_and_a_socket_no_port() -> None:
    assert address("127.0.0.1", 80) == "127.0.0.1:80"
    assert address("::1", 80) == "[::1]:80"
    assert address("unix:/run/x", 80) == "unix:/run/x"


def test_a_machine_reaches_itself_by_loopback() -> None:
    assert [connectable(host) for host in ("0.0.0.0", "::", "10.0.0.7")] == ["127.0.0.1", "::1", "10.0.0.7"]


def test_ports_are_shared_only_where_that_is_asked() -> None:
    with listening_socket("127.0.0.1", 0, shared=True) as first:
        port = first.getsockname()[1]
        with listening_socket("127.0.0.1", port, shared=True) as second:
            assert second.getsockname()[1] == port
        with pytest.raises(OSError, match="in use"):
            listening_socket("127.0.0.1", port, shared=False)


def test_a_listening_socket_accepts() -> None:
    with listening_socket("127.0.0.1", 0, shared=False) as listener:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        assert not listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
        with socket.create_connection(listener.getsockname(), timeout=30):
            pass


def test_a_bound_socket_does_not_listen_yet() -> None:
    with bound_socket("127.0.0.1", 0) as bound:
        assert bound.type == socket.SOCK_STREAM
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(bound.getsockname(), timeout=30)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
@pytest.mark.parametrize(("host", "only_ipv6"), [("::", 0), ("0.0.0.0", 0), ("::1", 1)])
def test_the_two_addresses_for_all_are_of_both_families(host: str, only_ipv6: int) -> None:
    with bound_socket(host, 0) as bound:
        assert bound.family == socket.AF_INET6
        assert bound.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == only_ipv6


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.EADDRINUSE, "is another server running there? Choose another port"),
        (errno.EADDRNOTAVAIL, "use an IP address of this machine"),
        (errno.EACCES, "ports below 1024 need a privilege: choose a larger one"),
        (errno.ENETDOWN, "choose another address"),
    ],
)
def test_an_address_that_cannot_be_had_comes_with_advice(code: int, advice: str) -> None:
    assert why_not(OSError(code, os.strerror(code))) == f"{os.strerror(code)}; {advice}"


def test_a_name_that_does_not_resolve_comes_with_advice() -> None:
    error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert why_not(error).startswith("Name or service not known; use an IP address of this machine, or a name")
