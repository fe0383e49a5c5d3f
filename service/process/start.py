"""The start of the server: options, logging, warnings, and the supervisor."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

import structlog

from service import config
from service.config import Config
from service.errors import StartError
from service.grpc.transport import choose_transport
from service.inference.capture import make_capture_folder
from service.process.supervisor import Supervisor
from service.security.certificate_validity import validity_warning
from service.security.exposure_warnings import exposures, is_loopback
from service.security.reloaded_file import read_bytes
from service.security.tls import server_context, tls_files
from service.security.tokens import Tokens
from service.telemetry import logging
from textmodel.extras import how_to_install


def start(settings: Config, environment: Mapping[str, str]) -> int:
    """Runs the server until it is told to stop.

    Returns:
        The exit status: 0; 1 if the server could not start; 2 if an option names something that cannot be used.
    """
    try:
        _check(settings)
    except StartError as error:
        config.parser().error(str(error))
    output = logging.configure(settings.log_format, settings.log_level)
    log = structlog.get_logger()
    for name, meant in config.unknown_variables(environment):
        log.warning(
            "unknown environment variable: ignored", variable=name, **({"did_you_mean": meant} if meant else {})
        )
    for name in config.ignored_service_links(environment):
        log.info("environment variable of a Kubernetes Service: ignored", variable=name)
    for option in _without_effect(settings):
        log.warning("option without effect", option=option, reason="it needs --capture")
    for reason in (*exposures(settings), *_unbounded(settings)):
        log.warning("exposed", reason=reason)
    if settings.tls_cert and (warning := validity_warning(settings.tls_cert)):
        log.warning("certificate", reason=warning)
    try:
        return Supervisor(settings, output).run()
    except StartError as error:
        log.error("cannot start", reason=str(error))
        return 1


def _check(settings: Config) -> None:
    """Checks the files, folders and packages that the options need, before the server's processes start.

    Raises:
        StartError: one of them is missing or cannot be used.
    """
    with suppress(OSError):  # the folder may become available later
        if settings.models.exists() and not settings.models.is_dir():
            raise StartError(f"--models: {settings.models} is not a folder")
    for option, path in _files(settings):
        try:
            read_bytes(path)
        except StartError as error:
            raise StartError(f"{option}: {error}") from error
    if settings.tokens:
        Tokens(settings.tokens)
    if files := tls_files(settings):
        server_context("certificates", files)
    if settings.capture:
        make_capture_folder(settings.capture)
    if settings.tracing == "on":
        _check_tracing()
    if settings.engine == "tensorflow" and not find_spec("tensorflow"):
        raise StartError(
            f"--engine tensorflow needs TensorFlow, which is not installed: {how_to_install('tensorflow')}"
        )
    choose_transport(settings)


def _without_effect(settings: Config) -> Iterator[str]:
    """Yields the flags of options that are set but have no effect without a capture folder."""
    for option in fields(settings):
        is_set = getattr(settings, option.name) != option.default
        if option.name.startswith("capture_") and is_set and not settings.capture:
            yield config.flag(option.name)


def _unbounded(settings: Config) -> Iterator[str]:
    """Yields a sentence if other machines can fill the memory, since grpcio does not bound incomplete messages."""
    if not is_loopback(settings.host) and choose_transport(settings).name == "grpcio":
        yield (
            f"other machines can reach {settings.host}, and grpcio does not bound the bytes of requests that are"
            " arriving: build the native transport (make native), or lower --max-request-bytes"
        )


def _files(settings: Config) -> Iterator[tuple[str, Path]]:
    for name in ("tokens", "tls_cert", "tls_key", "tls_client_ca"):
        if path := getattr(settings, name):
            yield config.flag(name), path


def _check_tracing() -> None:
    try:
        from service.telemetry.tracing import exporter_kinds  # noqa: PLC0415, an extra
    except ImportError as error:
        raise StartError(f"--tracing on needs OpenTelemetry ({error}): {how_to_install('otel')}") from error
    exporter_kinds()
