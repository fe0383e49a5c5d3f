"""Structured logs on standard error: one line per event, as JSON unless it is a terminal. They contain no texts of
requests.
"""

import json
import logging
import sys
from collections.abc import Callable
from typing import Any, TextIO, cast

import structlog

from service.telemetry.standard_error import NonBlockingStderr


def configure(log_format: str, log_level: str) -> NonBlockingStderr:
    """Configures logging, for events of this project and of libraries.

    Returns:
        The stream that log lines are written to. It reports the lines that it drops.
    """
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    described: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendered: list[structlog.typing.Processor] = (
        [_escape_control_characters, structlog.dev.ConsoleRenderer()]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_json)]
    )
    output = NonBlockingStderr(_drop_report([*described, *rendered]))
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=described,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=log_level.upper(), force=True)
    # The project's own events bypass `logging`, with which a line of the access log would cost twice as much.
    structlog.configure(
        processors=[*described, *rendered],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(log_level.upper())),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", output)),
        cache_logger_on_first_use=True,
    )
    return output


def _escape_control_characters(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escapes characters that would begin a line or control the terminal, such as in the name of a file."""
    return {name: _escaped(value) if isinstance(value, str) else value for name, value in event.items()}


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _drop_report(processors: list[structlog.typing.Processor]) -> Callable[[int], str]:
    def report(lines: int) -> str:
        event: Any = {"event": "log lines dropped: standard error was not read", "lines": lines}
        for process in processors:
            event = process(None, "warning", event)
        return f"{event}\n"

    return report


# One encoder for all lines: `json.dumps` would build a new one for each line.
_ENCODER = json.JSONEncoder(ensure_ascii=False, default=repr)


def _json(event: Any, **_: Any) -> str:
    return _ENCODER.encode(event)
