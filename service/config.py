"""The server's configuration: one declaration that gives flags, environment variables, defaults and validation.

A flag wins over its environment variable, which wins over the default.
"""

import argparse
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, get_args

from textmodel.loading import EngineKind
from textmodel.version_folder import is_model_name

_MIB = 1024 * 1024
_MODELS = Path("models")


class _Kind(NamedTuple):
    """How an option's text is read, and what to tell who wrote something else."""

    metavar: str
    expected: str
    parse: Callable[[str], Any]


def _number(metavar: str, kind: type[int] | type[float], low: int, high: float, expected: str) -> _Kind:
    def parse(text: str) -> int | float:
        number = kind(text)
        if not (low <= number <= high and math.isfinite(number)):
            raise ValueError
        return number

    return _Kind(metavar, expected, parse)


def _one_of(*choices: str) -> _Kind:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    return _Kind("|".join(choices), f"one of {', '.join(choices)}", parse)


def _pins(text: str) -> tuple[tuple[str, int], ...]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair]
    pins = {name.strip(): int(version) for name, _, version in pairs}
    if not all(is_model_name(name) and version > 0 for name, version in pins.items()) or len(pins) < len(pairs):
        raise ValueError
    return tuple(pins.items())


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(filter(None, map(str.strip, text.split(","))))
    if not all(origin == "*" or _ORIGIN.fullmatch(origin) for origin in origins):
        raise ValueError
    return origins


_ORIGIN = re.compile(r"https?://[^/?#\s]+")
_ORIGINS = _Kind("ORIGIN,...", "origins, as https://example.org,http://127.0.0.1:3000, or *", _origins)
_HOST = _Kind("HOST", "a host", str)
_FOLDER = _Kind("DIR", "a folder", Path)
_FILE = _Kind("FILE", "a file", Path)
_PORT = _number("PORT", int, 0, 65535, "a port, 0 to 65535")
_FIXED_PORT = _number("PORT", int, 1, 65535, "a port, 1 to 65535")
_PORT_OR_OFF = _Kind(
    "PORT|off", "a port, 0 to 65535, or off", lambda text: None if text == "off" else _PORT.parse(text)
)
_COUNT = _number("N", int, 1, math.inf, "a whole number from 1 up")
_COUNT_OR_ZERO = _number("N", int, 0, math.inf, "a whole number, 0 or more")
_PINS = _Kind("NAME=VERSION,...", "names and versions, as imdb=1,reuters=2", _pins)
_AGE = _number("SECONDS", float, 1, 2**31 // 1000, "a number of seconds, 1 to 2147483")
_SECONDS = _number("SECONDS", float, 0, math.inf, "a number of seconds, 0 or more")


def _option(default: Any, kind: _Kind, description: str) -> Any:
    return field(default=default, metadata={"kind": kind, "description": description})


@dataclass(frozen=True, kw_only=True)
class Config:
    """Every setting of the server.

    The field `max_texts` is the flag `--max-texts` and the environment variable `TEXT_CLASSIFIER_MAX_TEXTS`.
    """

    models: Path = _option(_MODELS, _FOLDER, "folder of the models, NAME/VERSION/ in it")
    host: str = _option("127.0.0.1", _HOST, "address to listen on for gRPC and HTTP")
    port: int = _option(50051, _PORT, "gRPC port; 0: any free one")
    http_port: int | None = _option(
        8080, _PORT_OR_OFF, "port of the HTTP routes, on the same address; 0: any free one, off: none"
    )
    cors_origins: tuple[str, ...] = _option(
        (), _ORIGINS, "origins whose pages may call the HTTP routes, as https://example.org; *: all"
    )
    metrics_host: str = _option("127.0.0.1", _HOST, "address to listen on for /metrics")
    metrics_port: int = _option(8000, _PORT, "HTTP port of /metrics; 0: any free one")
    health_port: int | None = _option(None, _FIXED_PORT, "unencrypted gRPC port for the health service alone")
    tls_cert: Path | None = _option(None, _FILE, "encrypt, with this PEM certificate and its chain")
    tls_key: Path | None = _option(None, _FILE, "PEM private key of the certificate")
    tls_client_ca: Path | None = _option(
        None, _FILE, "mutual TLS: PEM authorities that clients' certificates come from"
    )
    tokens: Path | None = _option(None, _FILE, "bearer tokens, one a line: all calls but health need one")
    reflection: str = _option("on", _one_of("on", "off"), "whether the server describes its contract to any caller")
    workers: int = _option(0, _COUNT_OR_ZERO, "processes that share the ports; 0: one for each CPU")
    transport: str = _option(
        "auto",
        _one_of("auto", "native", "grpcio"),
        "what carries gRPC; auto: the native transport where it is installed, otherwise grpcio",
    )
    engine: EngineKind = _option(
        "auto", _one_of(*get_args(EngineKind)), "auto: compiled for models over words or n-grams, TensorFlow for others"
    )
    watch_interval: float = _option(
        1.0, _SECONDS, "how often the models folder is looked at; 0: only when SIGHUP comes"
    )
    keep_versions: int = _option(1, _COUNT, "how many versions of a model are loaded, the newest ones")
    pin: tuple[tuple[str, int], ...] = _option(
        (), _PINS, "versions that answer instead of the newest; the file NAME/pin in models wins"
    )
    max_texts: int = _option(1024, _COUNT, "most texts in one request")
    max_text_bytes: int = _option(_MIB, _COUNT, "most bytes of UTF-8 in one text")
    max_request_bytes: int = _option(16 * _MIB, _COUNT, "most bytes in one gRPC message or HTTP body")
    max_batch_texts: int = _option(256, _COUNT, "most texts that TensorFlow gets in one call")
    max_queue_texts: int = _option(8192, _COUNT, "most texts that wait for one model; more are turned away")
    max_queue_bytes: int = _option(64 * _MIB, _COUNT, "most bytes of text that wait for one model")
    max_pending_calls: int = _option(
        100,
        _COUNT,
        "calls of one method that wait for a worker to begin; from here to twice as many, ever more are cancelled",
    )
    max_connection_age: float = _option(
        1800.0, _AGE, "after so long a client is asked to connect anew; its calls in flight go on"
    )
    grace_period: float = _option(
        10.0, _SECONDS, "how long requests in flight may take to finish when the server stops"
    )
    log_format: str = _option("auto", _one_of("auto", "json", "console"), "auto: console on a terminal, json elsewhere")
    log_level: str = _option("info", _one_of("debug", "info", "warning", "error"), "least severity that is logged")
    access_log: str = _option(
        "off", _one_of("on", "off"), "log a line for each call, at level info, with its request id"
    )
    tracing: str = _option(
        "off",
        _one_of("on", "off"),
        "OpenTelemetry spans of calls, sent where OTEL_ variables say; needs the extra otel",
    )


def parser() -> argparse.ArgumentParser:
    """Returns the command's parser, which takes each flag's value as text."""
    flags = argparse.ArgumentParser(
        prog="text-classifier-server",
        description="Serves text classification models over gRPC and HTTP, and their metrics.",
        epilog=f"Each flag has an environment variable: --max-texts is {variable('max_texts')}.",
    )
    for option in fields(Config):
        flags.add_argument(
            flag(option.name),
            metavar=option.metadata["kind"].metavar,
            help=f"{option.metadata['description']} (default: {shown(option.default)})",
        )
    return flags


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Config:
    """Builds the configuration. A bad value ends the process as argparse does: one clear line, exit status 2."""
    command = parser()
    flags = vars(command.parse_args(arguments))
    values = {}
    for option in fields(Config):
        source, text = flag(option.name), flags[option.name]
        if text is None:
            source, text = variable(option.name), environment.get(variable(option.name))
        if text is not None:
            try:
                values[option.name] = option.metadata["kind"].parse(text)
            except ValueError:
                command.error(f"{source}: {text!r} is not {option.metadata['kind'].expected}")
    return Config(**values)


def shown(default: object) -> str:
    """Returns a default as a person reads it."""
    return "none" if default in (None, ()) else str(default)


def flag(name: str) -> str:
    """Returns the command-line flag of a field."""
    return f"--{name.replace('_', '-')}"


def variable(name: str) -> str:
    """Returns the environment variable of a field."""
    return f"TEXT_CLASSIFIER_{name.upper()}"
