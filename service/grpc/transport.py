"""What carries gRPC: the native transport, or grpcio's server for asyncio. Servicers do not know which."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import grpc.aio

from service.config import Config
from service.errors import Overloaded, StartError
from service.grpc.channel_options import GRPCIO
from service.grpc.status import to_status
from service.security.tls import TlsFiles, pem_files, server_credentials

RETRY_SECONDS = 0.1
"""When it is worth coming again after a refusal by the native transport: the calls that wait take about as long."""


class Transport(NamedTuple):
    """What makes a server with the surface of `grpc.aio.Server`, and the credentials that it takes."""

    name: str
    server: Callable[[Sequence[tuple[str, int]]], Any]
    credentials: Callable[[TlsFiles], Any]


def choose_transport(config: Config, threads: int = 1) -> Transport:
    """Returns the transport that the configuration asks for.

    Args:
        config: the server's configuration.
        threads: how many threads of the native transport share the ports.

    Raises:
        StartError: the native transport is asked for and not installed.
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


def _grpcio_server(options: Sequence[tuple[str, int]]) -> grpc.aio.Server:
    return grpc.aio.server(options=list({**dict(options), **dict(GRPCIO)}.items()))


def _native(threads: int) -> Transport:
    from service.grpc.native_server import NativeServer  # noqa: PLC0415, may not be there

    overload = to_status(Overloaded("", RETRY_SECONDS)).SerializeToString()
    return Transport("native", lambda options: NativeServer(options, threads, overload), pem_files)
