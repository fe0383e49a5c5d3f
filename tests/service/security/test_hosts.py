import socket

import pytest

from service.config import Config
from service.security.exposure_warnings import exposures, is_loopback
from service.security.hosts import AllowedHosts, host_name


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("a.example", "a.example"),
        ("a.example:80", "a.example"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("[::1]:80", "[::1]"),
        ("", None),
        ("a:b", None),
        ("a:", None),
        ("::1", None),
        ("a b", None),
        ("a.example/x", None),
        ("user@a.example", None),
    ],
)
def test_a_host_header_is_a_name_and_a_port(header: str, name: str | None) -> None:
    assert host_name(header) == name


@pytest.mark.parametrize(
    ("listening", "configured", "allowed", "refused"),
    [
        ("127.0.0.1", (), ("localhost", "LOCALHOST:80", "localhost.", "127.0.0.1:80", "[::1]:80"), ("a.example", "")),
        ("127.0.0.2", (), ("127.0.0.2", "127.0.0.1"), ("127.0.0.3",)),
        ("::1", (), ("[::1]", "localhost"), ("a.example",)),
        ("0.0.0.0", (), ("a.example", "localhost", "", "a b"), ()),
        ("127.0.0.1", ("A.example", "[::2]"), ("a.example:80", "A.EXAMPLE.", "[::2]"), ("localhost", "b.example", "")),
        ("127.0.0.1", ("a.example", "*"), ("b.example", ""), ()),
    ],
)
def test_hosts_are_those_of_the_option_or_the_loopback_names(
    listening: str, configured: tuple[str, ...], allowed: tuple[str, ...], refused: tuple[str, ...]
) -> None:
    hosts = AllowedHosts(listening, configured)
    assert [hosts.allow(header) for header in allowed] == [True] * len(allowed)
    assert [hosts.allow(header) for header in refused] == [False] * len(refused)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("unix:/run/x", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.7", False),
    ],
)
def test_loopback_addresses_and_unix_sockets_are_reached_from_this_machine_alone(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_a_name_is_loopback_if_all_its_addresses_are(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ["127.0.0.1", "10.0.0.7"]
    asked: list[str] = []

    def resolved(host: str, port: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        asked.append(host)
        return [(socket.AF_INET, 0, 0, "", (each, 0)) for each in found]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    assert not is_loopback("X.example")
    found.pop()
    assert is_loopback("X.example")
    assert asked == ["X.example"] * 2


def test_a_name_that_does_not_resolve_is_not_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    def unresolved(host: str, port: object) -> None:
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    assert is_loopback("a.example") is False


def test_each_exposed_host_is_warned_of_once() -> None:
    def warned(**options: object) -> list[str]:
        return [each for each in exposures(Config(**options)) if "other machines" in each]  # type: ignore[arg-type]

    assert warned() == []
    (both,) = warned(host="0.0.0.0", metrics_host="0.0.0.0")
    assert both.startswith("other machines can reach 0.0.0.0, and the traffic is not encrypted: ")
    assert len(warned(host="0.0.0.0", metrics_host="10.0.0.7")) == 2
