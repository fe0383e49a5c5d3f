"""The command `text-classifier-server`.

It handles what must be handled before the server's packages are imported: closed descriptors, early signals, wrong
options and a missing extra.
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
    # Libraries read these variables at import. NumPy's BLAS is not used here, and its threads would interfere with
    # forking. With the older Keras, TensorFlow imports no Keras: a SavedModel needs none, and each worker starts in
    # half the time. gRPC's log lines are not JSON, and a client can cause one with each call.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    gc.disable()  # imports create no garbage
    # Imported here, after signals have handlers. The second import needs the extra; options and help do not.
    from service.config import parse  # noqa: PLC0415

    config = parse(sys.argv[1:], os.environ)
    from service.process.start import start  # noqa: PLC0415

    gc.freeze()  # the forked workers share these objects as long as no garbage collection visits them
    gc.enable()
    return start(config, os.environ)


def _open_standard_descriptors() -> None:
    """Opens /dev/null in place of each closed standard descriptor. Otherwise a socket could become standard error."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stderr = sys.stderr or os.fdopen(os.dup(2), "w")
    sys.stdout = sys.stdout or os.fdopen(os.dup(1), "w")


def _stop_on_early_signals() -> None:
    """Ends the process at SIGTERM and SIGINT until the supervisor has handlers of its own.

    In a container the server may be process 1, for which the kernel drops signals without a handler. SIGHUP is ignored,
    since the models folder has not been read yet.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
