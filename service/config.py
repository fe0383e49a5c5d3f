"""The server's configuration: one declaration that gives flags, environment variables, defaults and validation.

A flag wins over its environment variable, which wins over the default.
"""

import argparse
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, get_args

from service.address import UNIX
from service.option_values import (
    FILE,
    FIXED_PORT,
    FOLDER,
    HOST,
    HOSTS,
    MAX_INT32,
    ORIGINS,
    PINS,
    PORT,
    ValueKind,
    integer,
    one_of,
    or_off,
    or_zero,
    seconds,
    share,
)
from text_classifier.arguments import Parser
from textmodel.names import EngineKind

_PREFIX = "TEXT_CLASSIFIER_"
_MIB = 1024 * 1024
_MODELS = Path("models")

_SWITCH = one_of("on", "off")
_COUNT = integer("N", 1, MAX_INT32)
_BYTES = integer("BYTES", 1, MAX_INT32)
_QUEUE_BYTES = integer("BYTES", 1, 2**40)
_PENDING_CALLS = integer("N", 1, MAX_INT32 // 2)  # gRPC's hard limit is twice as high
_CAPTURE_BYTES = integer("BYTES", 1 << 20, 2**40)
_SHARE = share()
_WORKERS = integer("N", 0, 1024)
_MAX_SECONDS = 1_000_000
"""Under 12 days. Timers count milliseconds in an int32, and periods are added up."""
_SECONDS = seconds(0, _MAX_SECONDS)
_AGE = seconds(1, _MAX_SECONDS)
_HEARTBEAT = or_zero(seconds(1, 3600))  # a busy event loop may be late by almost a second
_INTERVAL = or_zero(seconds(0.01, _MAX_SECONDS))


def _option(default: Any, kind: ValueKind, description: str) -> Any:
    return field(default=default, metadata={"kind": kind, "description": description})


@dataclass(frozen=True, kw_only=True)
class Config:
    """Every setting of the server.

    The field `max_texts` is the flag `--max-texts` and the environment variable `TEXT_CLASSIFIER_MAX_TEXTS`.
    """

    models: Path = _option(_MODELS, FOLDER, "models folder, with NAME/VERSION/ in it")
    require_model: str = _option(
        "off", _SWITCH, "on: exit if no model can be served at the start; off: wait for one, and report NOT_SERVING"
    )
    host: str = _option(
        "127.0.0.1",
        HOST,
        "address to listen on, 0.0.0.0 or :: for all of IPv4 and IPv6; or unix:PATH, a Unix domain socket for gRPC",
    )
    port: int = _option(50051, PORT, "gRPC port; 0: any free port")
    http_port: int | None = _option(
        8080, or_off(PORT), "HTTP port, on the same address; 0: any free port, off: no HTTP"
    )
    cors_origins: tuple[str, ...] = _option(
        (), ORIGINS, "origins whose pages may call the HTTP routes, such as https://example.org; *: any origin"
    )
    allowed_hosts: tuple[str, ...] = _option(
        (),
        HOSTS,
        "host names that HTTP requests may use, such as api.example.org; *: any. By default the loopback names if"
        " --host is one of them, otherwise any",
    )
    metrics_host: str = _option("127.0.0.1", HOST, "address to listen on for /metrics")
    metrics_port: int = _option(8000, PORT, "HTTP port of /metrics; 0: any free port")
    health_port: int | None = _option(None, FIXED_PORT, "unencrypted gRPC port that serves only the health service")
    tls_cert: Path | None = _option(None, FILE, "PEM file of the TLS certificate and its chain")
    tls_key: Path | None = _option(None, FILE, "PEM file of the certificate's private key")
    tls_client_ca: Path | None = _option(
        None, FILE, "mutual TLS: PEM file of the authorities that sign client certificates"
    )
    tokens: Path | None = _option(None, FILE, "file of bearer tokens, one a line; every call but health needs one")
    reflection: str = _option("on", _SWITCH, "whether any caller may read the API's description")
    workers: int = _option(
        0,
        _WORKERS,
        "number of worker processes, which share the ports, at most 8 for each usable CPU; 0: one for each usable CPU",
    )
    heartbeat_timeout: float = _option(
        5.0, _HEARTBEAT, "replace a process whose event loop does not respond for this long, in seconds; 0: never"
    )
    transport: str = _option(
        "auto",
        one_of("auto", "native", "grpcio"),
        "what carries gRPC; auto: the native transport where it is installed, otherwise grpcio",
    )
    engine: EngineKind = _option(
        "auto", one_of(*get_args(EngineKind)), "auto: compiled for models over words or n-grams, TensorFlow for others"
    )
    watch_interval: float = _option(
        1.0, _INTERVAL, "seconds between two scans of the models folder; 0: scan on SIGHUP only"
    )
    keep_versions: int = _option(1, _COUNT, "number of versions of a model to keep loaded, newest first")
    pin: tuple[tuple[str, int], ...] = _option(
        (), PINS, "versions that answer instead of the newest; a file NAME/pin in the models folder takes precedence"
    )
    shadow: tuple[tuple[str, int], ...] = _option(
        (),
        PINS,
        "versions that are only compared with the one that answers; a file NAME/shadow in the models folder takes"
        " precedence",
    )
    shadow_share: float = _option(1.0, _SHARE, "share of requests that a shadow version classifies too")
    capture: Path | None = _option(
        None, FOLDER, "folder for texts of requests on which a shadow version disagrees, for people to label"
    )
    capture_share: float = _option(0.0, _SHARE, "share of the texts on which it agrees to store too")
    capture_bytes: int = _option(
        256 * _MIB, _CAPTURE_BYTES, "maximum total size of the stored files; the oldest are removed"
    )
    max_texts: int = _option(1024, _COUNT, "maximum number of texts in one request")
    max_text_bytes: int = _option(_MIB, _BYTES, "maximum size of one text in UTF-8")
    max_explain_bytes: int = _option(
        64 * 1024, _BYTES, "maximum total size of the texts in one request for explanations, in UTF-8"
    )
    max_request_bytes: int = _option(16 * _MIB, _BYTES, "maximum size of one gRPC message or HTTP body")
    max_batch_texts: int = _option(256, _COUNT, "maximum number of texts in one TensorFlow call")
    max_queue_texts: int = _option(
        8192, _COUNT, "maximum number of texts that wait for one model; further requests are refused"
    )
    max_queue_bytes: int = _option(64 * _MIB, _QUEUE_BYTES, "maximum size of the texts that wait for one model")
    max_pending_calls: int = _option(
        100,
        _PENDING_CALLS,
        "calls of one method that may wait for a worker; above it gRPC cancels some calls, above twice as many all",
    )
    max_connection_age: float = _option(
        1800.0,
        _AGE,
        "seconds after which a client is asked to reconnect, varied by up to a tenth; its calls in flight continue",
    )
    grace_period: float = _option(10.0, _SECONDS, "seconds that requests in flight may take when the server stops")
    log_format: str = _option("auto", one_of("auto", "json", "console"), "auto: console on a terminal, json elsewhere")
    log_level: str = _option("info", one_of("debug", "info", "warning", "error"), "minimum severity of logged events")
    access_log: str = _option("off", _SWITCH, "log one line for each call, at level info, with its request id")
    tracing: str = _option(
        "off", _SWITCH, "send OpenTelemetry spans of calls, set up by OTEL_ variables; needs the extra otel"
    )


def parser() -> argparse.ArgumentParser:
    """Returns the command's parser, which takes each flag's value as text."""
    flags = Parser(
        prog="text-classifier-server",
        description="Serves text classification models over gRPC and HTTP, and their metrics.",
        epilog=f"Each flag has an environment variable: --max-texts is {variable('max_texts')}.",
    )
    flags.add_argument("--version", action="version", version=f"%(prog)s {installed_version('text-classifier')}")
    for option in fields(Config):
        flags.add_argument(
            flag(option.name),
            metavar=option.metadata["kind"].metavar,
            help=f"{option.metadata['description']} (default: {shown(option.default)})",
        )
    return flags


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Config:
    """Builds the configuration. A wrong value ends the process with one line on standard error and exit status 2."""
    command = parser()
    flags = vars(command.parse_args(arguments))
    values = {}
    for option in fields(Config):
        source, text = flag(option.name), flags[option.name]
        if text is None:
            source = variable(option.name)
            text = None if _is_service_link(environment.get(source, "")) else environment.get(source) or None
        if text is not None:
            try:
                values[option.name] = option.metadata["kind"].parse(text)
            except ValueError:
                command.error(f"{source}: {_quoted(text)} is not {option.metadata['kind'].expected}")
    config = Config(**values)
    if config.host.startswith(UNIX) and (config.http_port is not None or config.health_port or config.workers > 1):
        command.error(
            f"--host {config.host} serves gRPC alone: it needs --http-port off, one of --workers, and no --health-port"
        )
    if config.metrics_host.startswith(UNIX):
        command.error(f"--metrics-host: {_quoted(config.metrics_host)} is not an IP address or a host name")
    for first, second in _same_ports(config):
        command.error(
            f"{flag(first)} and {flag(second)} are both {getattr(config, first)}: choose another port for one"
        )
    return config


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 64 else f"{text[:64]}…")


def _same_ports(config: Config) -> Iterator[tuple[str, str]]:
    """Yields the pairs of options that name the same port of the same address for two services."""
    addresses: dict[tuple[str, int], str] = {}
    for name in ("port", "http_port", "health_port", "metrics_port"):
        port, host = getattr(config, name), config.metrics_host if name == "metrics_port" else config.host
        if port:
            first = addresses.setdefault((host, port), name)
            if first != name:
                yield first, name


_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://.*")
_SERVICE_LINK_NAME = re.compile(r"(.*_)?SERVICE_(HOST|PORT(_.*)?)|(.*_)?PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?")
_CLIENT_VARIABLES = {"ADDRESS", "TOKEN"}
"""The variables of the command `text-classifier`."""


def _is_service_link(value: str) -> bool:
    """Tells whether Kubernetes set a variable. For a Service `text-classifier`, it sets `TEXT_CLASSIFIER_PORT` to a
    URL.
    """
    return _SERVICE_LINK.fullmatch(value) is not None


def unknown_variables(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yields the variables that look like the server's but are not. Each comes with the variable that may be meant, or
    an empty string.

    Variables that Kubernetes sets for Services are left out.
    """
    known = [option.name.upper() for option in fields(Config)]
    for name, value in sorted(environment.items()):
        rest = name.removeprefix(_PREFIX)
        if rest == name or rest in known or rest in _CLIENT_VARIABLES:
            continue
        if not _is_service_link(value) and not _SERVICE_LINK_NAME.fullmatch(rest):
            close = difflib.get_close_matches(rest.upper(), known, 1)
            yield name, f"{_PREFIX}{close[0]}" if close else ""


def ignored_service_links(environment: Mapping[str, str]) -> list[str]:
    """Returns the variables that have the name of an option but are ignored because Kubernetes set them."""
    names = [variable(option.name) for option in fields(Config)]
    return [name for name in names if _is_service_link(environment.get(name, ""))]


def shown(default: object) -> str:
    """Returns a default as help and documentation show it."""
    return "none" if default in (None, ()) else str(default)


def flag(name: str) -> str:
    """Returns the command-line flag of a field."""
    return f"--{name.replace('_', '-')}"


def variable(name: str) -> str:
    """Returns the environment variable of a field."""
    return f"{_PREFIX}{name.upper()}"
