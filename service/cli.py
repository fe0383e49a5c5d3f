"""The command `text-classifier-server`.

What a start meets before the server's packages are imported: closed descriptors, early signals, wrong options, a
missing extra.
"""

import gc
import os
import signal
import sys

from textmodel.extras import needs_extra


@needs_extra("text-classifier-server", "server")
def main() -> int:
    """Runs the server until it is told to stop.

    Returns:
        The exit status: 0; 1 if it could not start; 2 if an option is wrong or an extra is missing.
    """
    _open_standard_descriptors()
    _stop_on_early_signals()
    # Read when the libraries are imported. NumPy's BLAS is not used here: its threads would get in the way of forking.
    # TensorFlow imports Keras unless the older Keras is asked for: a SavedModel needs neither, so each worker
    # starts in half the time. gRPC's lines are not JSON, and a client can cause one with each call.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    gc.disable()  # what imports create is no garbage
    # Imported here, after signals have handlers; the second one needs the extra, which options and help do not.
    from service.config import parse  # noqa: PLC0415

    config = parse(sys.argv[1:], os.environ)
    from service.process.start import start  # noqa: PLC0415

    gc.freeze()  # the workers, forks of this process, share it as long as none looks for garbage there
    gc.enable()
    return start(config, os.environ)


def _open_standard_descriptors() -> None:
    """Opens /dev/null as each closed standard descriptor: a socket must not become standard error."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stderr = sys.stderr or os.fdopen(os.dup(2), "w")
    sys.stdout = sys.stdout or os.fdopen(os.dup(1), "w")


def _stop_on_early_signals() -> None:
    """Ends the process at SIGTERM and SIGINT until the supervisor has handlers of its own.

    The kernel drops signals without a handler for process 1, as in a container. SIGHUP is ignored: the models folder
    is still to be read.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
