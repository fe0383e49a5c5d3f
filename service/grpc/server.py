"""The gRPC server of a worker: its services, its ports, and its shutdown."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from grpc_health.v1 import health_pb2_grpc

from service.address import address, grpc_target
from service.config import Config
from service.errors import StartError
from service.grpc.channel_options import channel_arguments
from service.grpc.decoding import DecodingLimits
from service.grpc.health import SERVICE_NAME as HEALTH
from service.grpc.health import HealthServicer
from service.grpc.instrumentation import InstrumentedServer, Instruments
from service.grpc.open_inference_servicer import SERVICE as OPEN_INFERENCE
from service.grpc.open_inference_servicer import OpenInferenceServicer
from service.grpc.reflection import add_reflection_to_server, reflection_servicer
from service.grpc.stubs import open_inference_pb2_grpc
from service.grpc.text_classifier_servicer import TextClassifierServicer
from service.grpc.transport import Transport
from service.inference.classification import ClassificationService
from service.inference.repository import ModelRepository
from service.security.tls import TlsFiles, tls_files
from service.telemetry.metrics import TRANSPORT
from service.telemetry.shared_metrics import Gauge
from text_classifier.calls import SERVICE
from text_classifier.v1 import text_classifier_pb2_grpc as pb2_grpc

SERVICES = (SERVICE, OPEN_INFERENCE)
"""The services that classify."""


class Servicers(NamedTuple):
    """The servicers. They answer the calls of all protocols."""

    text_classifier: TextClassifierServicer
    open_inference: OpenInferenceServicer
    health: HealthServicer

    @classmethod
    def of(cls, repository: ModelRepository, classification: ClassificationService, transport: str) -> "Servicers":
        """Creates the servicers of a worker, which do not serve yet. `transport` is the name that they report."""
        health = HealthServicer(("", *SERVICES))
        return cls(
            TextClassifierServicer(repository, classification, transport),
            OpenInferenceServicer(repository, classification, health),
            health,
        )


@asynccontextmanager
async def grpc_server(
    config: Config,
    port: int,
    servicers: Servicers,
    repository: ModelRepository,
    instruments: Instruments,
    *,
    transport: Transport,
) -> AsyncIterator[None]:
    """Runs the gRPC server around the block, and drains it afterwards.

    Raises:
        StartError: the server cannot listen on the port, or a file for TLS cannot be used.
    """
    Gauge(instruments.page, TRANSPORT, (transport.name,)).set(1)
    server = transport.server(channel_arguments(config))
    _register(_instrumented(server, config, instruments), servicers, reflect=config.reflection == "on")
    observer = instruments.observer
    if transport.name == "native" and instruments.native_page and not (observer and observer.records):
        from service.grpc.fast_path import FastPath  # noqa: PLC0415, the extension may not be installed

        FastPath(server, repository, instruments.native_page, config)
        if observer:
            server.set_request_ids()
        if instruments.tokens:
            instruments.tokens.publish(server.set_tokens)
    _listen(transport, server, config.host, port, tls_files(config))
    await server.start()
    try:
        async with _health_server(config, transport, servicers.health, instruments):
            yield
    finally:
        await server.stop(config.grace_period)


def _instrumented(server: Any, config: Config, instruments: Instruments) -> InstrumentedServer:
    limits = DecodingLimits(config.max_request_bytes, config.max_texts, config.max_text_bytes)
    return InstrumentedServer(server, instruments, limits, probes=(HEALTH,))


def _register(server: InstrumentedServer, servicers: Servicers, *, reflect: bool) -> None:
    server.register(pb2_grpc.add_TextClassifierServicer_to_server, servicers.text_classifier)
    server.register(open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server, servicers.open_inference)
    server.register(health_pb2_grpc.add_HealthServicer_to_server, servicers.health)
    if reflect:
        server.register(add_reflection_to_server, reflection_servicer((*SERVICES, HEALTH)))


@asynccontextmanager
async def _health_server(
    config: Config, transport: Transport, health: HealthServicer, instruments: Instruments
) -> AsyncIterator[None]:
    """Serves the health port, if the configuration names one, while the block runs."""
    if config.health_port is None:
        yield
        return
    server = transport.server(channel_arguments(config))
    _instrumented(server, config, instruments).register(health_pb2_grpc.add_HealthServicer_to_server, health)
    _listen(transport, server, config.host, config.health_port, None)
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


def _listen(transport: Transport, server: Any, host: str, port: int, files: TlsFiles | None) -> None:
    target = grpc_target(host, port)
    try:
        if files:
            server.add_secure_port(target, transport.credentials(files))
        else:
            server.add_insecure_port(target)
    except RuntimeError as error:
        raise StartError(f"cannot listen on {address(host, port)}: {error.__cause__ or error}") from error
