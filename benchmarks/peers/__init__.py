"""Other servers of the same SavedModel, each in processes of its own, for comparison with this project's server.

MLServer pins other versions of protobuf and NumPy than this project. It needs an environment of its own, made by
`pip install mlserver tensorflow`, without this project.
"""

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import grpc

from benchmarks.server import Server
from benchmarks.service import CLASSIFY, MODEL, MODEL_INFER, Protocol

_STARTS_WITHIN = 120.0
_POLLS_EVERY = 0.05
"""Seconds between two polls, so that polling does not slow down a server that is still loading its model."""


@contextmanager
def keras_predict(version: Path) -> Iterator[Server]:
    """Runs `model.predict` behind grpcio's thread pool during the block. It takes this project's request bodies."""
    port = _free_port()
    command = [sys.executable, "-m", "benchmarks.peers.keras_predict", str(version), str(port)]
    with _serving(command, f"127.0.0.1:{port}", CLASSIFY) as server:
        yield server


@contextmanager
def mlserver(python: Path, version: Path) -> Iterator[Server]:
    """Runs MLServer with adaptive batching during the block. It takes the Open Inference Protocol.

    Args:
        python: the interpreter of the environment that has MLServer and TensorFlow.
        version: the version folder.
    """
    port = _free_port()
    settings = {
        "host": "127.0.0.1",
        "grpc_port": port,
        "http_port": _free_port(),
        "metrics_endpoint": None,
        "debug": False,  # otherwise it logs a line for each request
        "parallel_workers": 0,
    }
    model = {
        "name": MODEL,
        "implementation": "mlserver_runtime.SavedModel",
        "parameters": {"uri": str(version.resolve())},
        "max_batch_size": 64,
        "max_batch_time": 0.001,
    }
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "settings.json").write_text(json.dumps(settings))
        Path(folder, "model-settings.json").write_text(json.dumps(model))
        Path(folder, "mlserver_runtime.py").symlink_to(Path(__file__).with_name("mlserver_runtime.py"))
        command = [str(python.absolute()), "-c", "from mlserver.cli import main; main()", "start", "."]
        with _serving(command, f"127.0.0.1:{port}", MODEL_INFER, folder) as server:
            yield server


@contextmanager
def _serving(command: Sequence[str], address: str, protocol: Protocol, folder: str | None = None) -> Iterator[Server]:
    """Runs a server during the block, which begins when the server has answered a request.

    Raises:
        RuntimeError: the server ended, or did not answer in time. The message contains its output.
    """
    with tempfile.TemporaryFile("w+") as log:
        start = perf_counter()
        with subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, text=True) as process:
            try:
                while not _answers(address, protocol):
                    if process.poll() is not None or perf_counter() - start > _STARTS_WITHIN:
                        log.seek(0)
                        raise RuntimeError(f"{' '.join(command)} does not answer:\n{log.read()}")
                    sleep(_POLLS_EVERY)
                yield Server(process, address, perf_counter() - start)
            finally:
                process.terminate()


def _answers(address: str, protocol: Protocol) -> bool:
    """Sends one request, and waits up to a second for the server to listen and to answer."""
    with grpc.insecure_channel(address, [("grpc.max_reconnect_backoff_ms", 100)]) as channel:
        call: Any = channel.unary_unary(f"/{protocol.method}")
        try:
            call(protocol.request([""]), timeout=1, wait_for_ready=True)
        except grpc.RpcError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
