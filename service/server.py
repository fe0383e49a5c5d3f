"""The server: wires the parts together and owns their life, from start over ready and drain to stop."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version as installed_version

import grpc.aio
import prometheus_client
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from prometheus_client.registry import CollectorRegistry

from service.batching import Batcher, Limits
from service.config import Config
from service.instrumentation import InstrumentedServer
from service.metrics import FAMILIES, ModelMetrics
from service.repository import ModelRepository, Servable
from service.series import PAGE_BYTES, Page, PagesCollector
from service.servicer import RequestLimits, TextClassifierServicer
from text_classifier.v1 import text_classifier_pb2 as pb2
from text_classifier.v1 import text_classifier_pb2_grpc as pb2_grpc
from textmodel import Engine, VersionFolder

_log = structlog.get_logger()

SERVICE = pb2.DESCRIPTOR.services_by_name["TextClassifier"].full_name
"""The full name of the service, as health and reflection know it."""


class StartError(Exception):
    """The server cannot start. The text says why and what to do."""


async def serve(config: Config) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        StartError: a port is taken.
        ModelError: there is no model to serve.
    """
    page = Page(bytearray(PAGE_BYTES))
    repository = ModelRepository(config.models, _publisher(config, page))
    health_servicer = health.aio.HealthServicer()
    with _stop_signal() as stop, _metrics_endpoint(config, page):
        async with _grpc_server(config, page, repository, health_servicer) as port:
            await repository.load()
            for service in ("", SERVICE):
                await health_servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
            _log.info("serving", host=config.host, port=port)
            await stop.wait()
            _log.info("stopping", grace_period=config.grace_period)
            await health_servicer.enter_graceful_shutdown()
        await repository.close()
    _log.info("stopped")


def _publisher(config: Config, page: Page) -> Callable[[VersionFolder, str, int, Engine], Servable]:
    limits = Limits(config.max_batch_texts, config.max_queue_texts, config.max_queue_bytes)

    def publish(folder: VersionFolder, name: str, version: int, engine: Engine) -> Servable:
        metrics = ModelMetrics(page, name, version, engine.name, folder.labels)
        batcher = Batcher(name, engine, limits, metrics)
        return Servable(name, version, folder.labels, folder.metadata, engine, batcher, metrics)

    return publish


@contextmanager
def _stop_signal() -> Iterator[asyncio.Event]:
    """Gives the event that SIGTERM and SIGINT set; a second signal changes nothing."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@contextmanager
def _metrics_endpoint(config: Config, page: Page) -> Iterator[None]:
    """Serves /metrics while the block runs."""
    registry = CollectorRegistry()
    registry.register(PagesCollector(FAMILIES, [page]))
    prometheus_client.ProcessCollector(registry=registry)
    prometheus_client.PlatformCollector(registry=registry)
    try:
        server, thread = prometheus_client.start_http_server(config.metrics_port, config.host, registry)
    except OSError as error:
        raise StartError(
            f"cannot serve metrics on {config.host}:{config.metrics_port}: {error.strerror}; choose another port with"
            " --metrics-port"
        ) from error
    _log.info("metrics", host=config.host, port=server.server_port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@asynccontextmanager
async def _grpc_server(
    config: Config, page: Page, repository: ModelRepository, health_servicer: health.aio.HealthServicer
) -> AsyncIterator[int]:
    """Runs the gRPC server around the block, gives its port, and drains it afterwards."""
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", config.max_request_bytes),
            ("grpc.so_reuseport", 0),  # otherwise a second server takes the same port and both get some of the calls
        ]
    )
    instrumented = InstrumentedServer(server, page)
    limits = RequestLimits(config.max_texts, config.max_text_bytes)
    instrumented.register(pb2_grpc.add_TextClassifierServicer_to_server, TextClassifierServicer(repository, limits))
    instrumented.register(health_pb2_grpc.add_HealthServicer_to_server, health_servicer)
    names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
    instrumented.register(
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server, reflection.aio.ReflectionServicer(names)
    )
    for service in ("", SERVICE):
        await health_servicer.set(service, health_pb2.HealthCheckResponse.NOT_SERVING)
    try:
        port = server.add_insecure_port(f"{config.host}:{config.port}")
    except RuntimeError as error:
        raise StartError(
            f"cannot listen on {config.host}:{config.port}; is another server running there? Choose another port with"
            " --port"
        ) from error
    await server.start()
    _log.info("started", version=installed_version("text-classifier"), host=config.host, port=port)
    try:
        yield port
    finally:
        await server.stop(config.grace_period)
