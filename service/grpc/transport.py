"""Chooses the gRPC transport: the native one, or grpcio's asyncio server. Servicers do not depend on it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from service.config import Config
from service.errors import Overloaded, StartError
from service.grpc.channel_options import GRPCIO
from service.grpc.grpcio_server import GrpcioServer
from service.grpc.status import to_status
from service.security.tls import TlsFiles, pem_files, server_credentials

RETRY_SECONDS = 0.1
"""The retry delay in a refusal by the native transport: the pending calls take about this long."""


class Transport(NamedTuple):
    """Creates a server with the interface of `grpc.aio.Server`, and its credentials."""

    name: str
    server: Callable[[Sequence[tuple[str, int]]], Any]
    credentials: Callable[[TlsFiles], Any]


def choose_transport(config: Config, threads: int = 1) -> Transport:
    """Returns the transport that the configuration chooses.

    Args:
        config: the server's configuration.
        threads: number of threads of the native transport.

    Raises:
        StartError: the configuration requires the native transport, which is not installed.
    """
    if config.transport != "grpcio":
        try:
            return _native(threads)
        except ImportError as error:
            if config.transport == "native":
                raise StartError(
                    f"--transport native: this installation has no native transport ({error}); install cargo and"
                    " install the package again, or choose grpcio"
                ) from error
    return Transport("grpcio", _grpcio_server, server_credentials)


def _grpcio_server(options: Sequence[tuple[str, int]]) -> GrpcioServer:
    return GrpcioServer(list({**dict(options), **dict(GRPCIO)}.items()))


def _native(threads: int) -> Transport:
    from service.grpc.native_server import NativeServer  # noqa: PLC0415, it may not be installed

    overload = to_status(Overloaded("the queue of calls", RETRY_SECONDS)).SerializeToString()
    return Transport("native", lambda options: NativeServer(options, threads, overload), pem_files)
