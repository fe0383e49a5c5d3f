"""The command `text-classifier-server`."""

import os
import sys

# TensorFlow's start-up notices are for its developers. Read when it is imported, so set before anything else.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import structlog
import uvloop

from service import config, logs
from service.server import StartError, serve
from textmodel import ModelError


def main() -> int:
    """Runs the server until it is told to stop. Returns the exit status: 0, or 1 when it could not start."""
    settings = config.parse(sys.argv[1:], os.environ)
    logs.configure(settings.log_format, settings.log_level)
    try:
        uvloop.run(serve(settings))
    except (StartError, ModelError) as error:
        structlog.get_logger().error("cannot start", reason=str(error))
        return 1
    return 0
