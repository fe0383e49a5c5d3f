"""The start of the server: options, logging, warnings, and the supervisor."""

from collections.abc import Mapping, Sequence

import structlog

from service import config
from service.errors import StartError
from service.process.supervisor import Supervisor
from service.security.exposure_warnings import exposures
from service.telemetry import logging


def start(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Runs the server until it is told to stop. Returns the exit status: 0, or 1 if it could not start."""
    settings = config.parse(arguments, environment)
    output = logging.configure(settings.log_format, settings.log_level)
    log = structlog.get_logger()
    for name, meant in config.unknown_variables(environment):
        log.warning(
            "unknown environment variable: ignored", variable=name, **({"did_you_mean": meant} if meant else {})
        )
    for name in config.ignored_service_links(environment):
        log.info("environment variable of a Kubernetes Service: ignored", variable=name)
    for reason in exposures(settings):
        log.warning("exposed", reason=reason)
    try:
        return Supervisor(settings, output).run()
    except StartError as error:
        log.error("cannot start", reason=str(error))
        return 1
