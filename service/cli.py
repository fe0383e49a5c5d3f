"""The command `text-classifier-server`."""

import os
import sys

# Read when the libraries are imported, so set before. NumPy's BLAS has nothing to do here: its threads would only be in
# the way of forking. TensorFlow's start-up notices are for its developers. gRPC's lines are not JSON, and a client can
# have it write one with each call.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import structlog

from service import config
from service.errors import StartError
from service.process.supervisor import Supervisor
from service.security.exposure_warnings import exposures
from service.telemetry import logging


def main() -> int:
    """Runs the server until it is told to stop. Returns the exit status: 0, or 1 when it could not start."""
    settings = config.parse(sys.argv[1:], os.environ)
    logging.configure(settings.log_format, settings.log_level)
    for reason in exposures(settings):
        structlog.get_logger().warning("exposed", reason=reason)
    try:
        return Supervisor(settings).run()
    except StartError as error:
        structlog.get_logger().error("cannot start", reason=str(error))
        return 1
