"""The upper bound of grpc.aio: workers on uvloop whose Classify returns a fixed response."""

import os
import signal
import socket
import sys

import grpc.aio
import uvloop

from text_classifier.v1 import text_classifier_pb2 as pb2
from text_classifier.v1 import text_classifier_pb2_grpc as pb2_grpc


class EmptyServicer(pb2_grpc.TextClassifierServicer):
    """Parses each request, as every handler must, and returns the same response."""

    def __init__(self) -> None:
        answer = pb2.Classification(label="positive", probability=0.9, words=200, known_words=190)
        self._response = pb2.ClassifyResponse(model="imdb", version=1, classifications=[answer])

    async def Classify(self, request: pb2.ClassifyRequest, context: object) -> pb2.ClassifyResponse:  # noqa: N802
        """Returns the response."""
        return self._response


async def _serve(port: int) -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 1)])
    pb2_grpc.add_TextClassifierServicer_to_server(EmptyServicer(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    os.write(sys.stderr.fileno(), f"serving {port}\n".encode())  # in one write, since the processes share the pipe
    await server.wait_for_termination()


def main(workers: int) -> None:
    """Serves on one port with this number of processes, until SIGTERM."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", 0))
        pids = []
        for _ in range(workers):
            if (pid := os.fork()) == 0:
                uvloop.run(_serve(reserved.getsockname()[1]))
            pids.append(pid)
        signal.sigwait([signal.SIGTERM])
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    main(int(sys.argv[1]))
