"""Structured logs on standard error: one line an event, JSON when no person watches. Text of requests never enters."""

import json
import logging
import sys
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog


def configure(log_format: str, log_level: str) -> None:
    """Sets up the process's logging, for this project's events and for the libraries' own alike."""
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    described: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendered: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_json)]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=described,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=log_level.upper(), force=True)
    # The project's own events do not go through `logging`: a line of the access log would cost twice as much.
    structlog.configure(
        processors=[*described, *rendered],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(log_level.upper())),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Stderr())),
        cache_logger_on_first_use=True,
    )


class _Stderr:
    """Standard error, where a full disk or a closed pipe costs lines, not the server; `logging` is as forgiving."""

    def write(self, text: str) -> None:
        """Writes what can be written."""
        with suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        """Sends on what can be sent."""
        with suppress(OSError):
            sys.stderr.flush()


# One for all lines: `json.dumps` would build another for each.
_ENCODER = json.JSONEncoder(ensure_ascii=False, default=repr)


def _json(event: Any, **_: Any) -> str:
    return _ENCODER.encode(event)
