"""The kinds of values that options take: how each is parsed, its bounds, and its error message."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from service.address import MAX_SOCKET_PATH, parse_host
from textmodel.names import MAX_VERSION, is_model_name

MAX_INT32 = 2**31 - 1
"""gRPC's type for sizes and counts is int32."""


class ValueKind(NamedTuple):
    """A kind of value."""

    metavar: str
    expected: str
    """A description of a valid value, for the error."""
    parse: Callable[[str], Any]
    """Parses a value. Raises ValueError if it is invalid."""


def integer(metavar: str, low: int, high: int, what: str = "an integer") -> ValueKind:
    """Returns the kind for integers from low to high."""

    def parse(text: str) -> int:
        number = int(text)
        if not low <= number <= high:
            raise ValueError
        return number

    return ValueKind(metavar, f"{what}, {low} to {high}", parse)


def seconds(low: float, high: float) -> ValueKind:
    """Returns the kind for durations from low to high, in seconds."""

    def parse(text: str) -> float:
        number = float(text)
        if not low <= number <= high or math.isnan(number):
            raise ValueError
        return number

    return ValueKind("SECONDS", f"a number of seconds, {low:g} to {high:.0f}", parse)


def share() -> ValueKind:
    """Returns the kind for shares, from 0 to 1."""

    def parse(text: str) -> float:
        number = float(text)
        if not 0 <= number <= 1:
            raise ValueError
        return number

    return ValueKind("SHARE", "a number from 0 to 1", parse)


def or_zero(kind: ValueKind) -> ValueKind:
    """Returns a kind that accepts 0 too."""
    parse = kind.parse
    return kind._replace(expected=f"{kind.expected}, or 0", parse=lambda text: 0.0 if float(text) == 0 else parse(text))


def one_of(*choices: str) -> ValueKind:
    """Returns the kind for a choice of words."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    return ValueKind("|".join(choices), f"one of {', '.join(choices)}", parse)


def or_off(kind: ValueKind) -> ValueKind:
    """Returns a kind that accepts `off` too, and parses it as None."""
    parse = kind.parse
    return ValueKind(
        f"{kind.metavar}|off", f"{kind.expected}, or off", lambda text: None if text == "off" else parse(text)
    )


def _parse_pins(text: str) -> tuple[tuple[str, int], ...]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair]
    pins = {name.strip(): int(version) for name, _, version in pairs}
    valid = all(is_model_name(name) and 1 <= version <= MAX_VERSION for name, version in pins.items())
    if not valid or len(pins) < len(pairs):
        raise ValueError
    return tuple(pins.items())


def _parse_origins(text: str) -> tuple[str, ...]:
    origins = tuple(filter(None, map(str.strip, text.split(","))))
    if not all(origin == "*" or _ORIGIN.fullmatch(origin) for origin in origins):
        raise ValueError
    return origins


def _parse_path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError
    return Path(text)


def _parse_hosts(text: str) -> tuple[str, ...]:
    hosts = tuple(filter(None, map(str.strip, text.split(","))))
    if not all(map(_HOST_NAME.fullmatch, hosts)):
        raise ValueError
    return hosts


_HOST_NAME = re.compile(r"\*|[A-Za-z0-9._-]+|\[?[0-9A-Fa-f:.]+\]?")
_ORIGIN = re.compile(r"https?://[^/?#\s]+")

HOST = ValueKind(
    "HOST", f"an IP address, a host name, or unix:PATH with a path of at most {MAX_SOCKET_PATH} bytes", parse_host
)
FOLDER = ValueKind("DIR", "a folder", _parse_path)
FILE = ValueKind("FILE", "a file", _parse_path)
PORT = integer("PORT", 0, 65535, "a port")
FIXED_PORT = integer("PORT", 1, 65535, "a port")
PINS = ValueKind("NAME=VERSION,...", "names and versions, each name once, such as imdb=1,reuters=2", _parse_pins)
HOSTS = ValueKind("HOST,...", "host names without ports, such as api.example.org,10.0.0.7, or *", _parse_hosts)
ORIGINS = ValueKind("ORIGIN,...", "origins, such as https://example.org,http://127.0.0.1:3000, or *", _parse_origins)
