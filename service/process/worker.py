"""One worker's server: wires the parts together and owns their life, from start over ready and drain to stop."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple

from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from service.config import Config
from service.errors import StartError
from service.grpc.channel_options import SHARED_PORT, channel_arguments
from service.grpc.instrumentation import InstrumentedServer
from service.grpc.open_inference_servicer import SERVICE as OPEN_INFERENCE
from service.grpc.open_inference_servicer import OpenInferenceServicer
from service.grpc.stubs import open_inference_pb2_grpc
from service.grpc.text_classifier_servicer import TextClassifierServicer
from service.grpc.transport import Transport, choose_transport
from service.http.app import http_api
from service.http.server import http_endpoint
from service.inference.batching import Batcher, QueueLimits
from service.inference.classification import Classifier, RequestLimits
from service.inference.explanations import Explanations
from service.inference.repository import ModelRepository, Servable
from service.inference.version_policy import VersionPolicy
from service.process.child_pipe import ChildEnd
from service.security.tls import TlsFiles, tls_files
from service.security.tokens import Tokens
from service.telemetry.call_observer import Observer
from service.telemetry.metrics import ModelMetrics, VersionStates
from service.telemetry.shared_metrics import MetricsPage
from text_classifier.calls import SERVICE
from text_classifier.v1 import text_classifier_pb2_grpc as pb2_grpc
from textmodel import Engine, VersionFolder
from textmodel.version_folder import Fingerprint

_SERVICES = (SERVICE, OPEN_INFERENCE)


async def serve(config: Config, port: int, http_port: int | None, page: MetricsPage, supervisor: ChildEnd) -> None:
    """Serves until SIGTERM, or until the supervisor has gone.

    Args:
        config: the server's configuration.
        port: the gRPC port, which other workers listen on too.
        http_port: the port of the HTTP routes, likewise; None: there are none.
        page: where metrics go.
        supervisor: who hears that this worker is ready, and tells whether all are.

    Raises:
        StartError: the port cannot be listened on, or tracing cannot start.
        ModelError: there is no model to serve.
    """
    policy = VersionPolicy(config.keep_versions, dict(config.pin))
    repository = ModelRepository(config.models, config.engine, policy, publisher(config, page), VersionStates(page))
    classifier = Classifier(repository, RequestLimits(config.max_texts, config.max_text_bytes))
    health_servicer = health.aio.HealthServicer()
    servicers = _Servicers(
        TextClassifierServicer(repository, classifier),
        OpenInferenceServicer(repository, classifier, health_servicer),
        health_servicer,
    )
    tokens = Tokens(config.tokens) if config.tokens else None
    stop = asyncio.Event()
    with _observer(config) as observer, _signal_handlers({signal.SIGTERM: stop.set, signal.SIGHUP: repository.refresh}):
        async with (
            _http_server(
                config, http_port, page, servicers, grpc_port=port, tokens=tokens, observer=observer, stop=stop
            ),
            _grpc_server(config, port, page, servicers, tokens=tokens, observer=observer),
        ):
            await repository.load()
            supervisor.ready()
            watching = [
                asyncio.create_task(repository.watch(config.watch_interval)),
                asyncio.create_task(_watch(supervisor, health_servicer, stop)),
            ]
            await stop.wait()
            for task in watching:
                task.cancel()
            await health_servicer.enter_graceful_shutdown()
        await repository.close()


async def _watch(supervisor: ChildEnd, health_servicer: health.aio.HealthServicer, stop: asyncio.Event) -> None:
    """Keeps health as the supervisor says: serving while every worker does."""
    async for serving in supervisor.serving():
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", *_SERVICES):
            await health_servicer.set(service, status)
    stop.set()


def publisher(config: Config, page: MetricsPage) -> Callable[[VersionFolder, Fingerprint, str, int, Engine], Servable]:
    """Returns what makes the servable of a verified engine."""
    limits = QueueLimits(config.max_batch_texts, config.max_queue_texts, config.max_queue_bytes)

    def publish(folder: VersionFolder, files: Fingerprint, name: str, version: int, engine: Engine) -> Servable:
        metrics = ModelMetrics(page, name, version, engine.name, folder.labels)
        batcher = Batcher(name, engine, limits, metrics)
        explanations = Explanations(name, version, folder.path, files)
        return Servable(name, version, folder.labels, folder.metadata, engine, batcher, metrics, explanations)

    return publish


@contextmanager
def _observer(config: Config) -> Iterator[Observer | None]:
    """Yields what observes calls, if any are to be observed. At the end of the block the last spans are sent.

    Raises:
        StartError: tracing is not installed, or the environment asks for what there is not.
    """
    access_log = config.access_log == "on"
    if config.tracing == "off":
        yield Observer(access_log, None) if access_log else None
        return
    try:
        from service.telemetry.tracing import tracing  # noqa: PLC0415, an extra
    except ImportError as error:
        raise StartError(f"--tracing on needs OpenTelemetry ({error}): pip install 'text-classifier[otel]'") from error
    with tracing() as tracer:
        yield Observer(access_log, tracer)


@contextmanager
def _signal_handlers(handlers: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    """Has the event loop call these at the signals while the block runs."""
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)


class _Servicers(NamedTuple):
    """What answers, whatever protocol a request comes by."""

    text_classifier: TextClassifierServicer
    open_inference: OpenInferenceServicer
    health: health.aio.HealthServicer


@asynccontextmanager
async def _http_server(
    config: Config,
    port: int | None,
    page: MetricsPage,
    servicers: _Servicers,
    *,
    grpc_port: int,
    tokens: Tokens | None,
    observer: Observer | None,
    stop: asyncio.Event,
) -> AsyncIterator[None]:
    """Runs the HTTP routes, if there are to be any, around the block. They drain when gRPC does: at `stop`."""
    if port is None:
        yield
        return
    api = http_api(
        servicers.text_classifier,
        servicers.open_inference,
        page,
        grpc_port=grpc_port,
        tokens=tokens,
        observer=observer,
        most_bytes=config.max_request_bytes,
        cors_origins=config.cors_origins,
        reflection=config.reflection == "on",
    )
    async with http_endpoint(config, port, api, stop):
        yield


@asynccontextmanager
async def _grpc_server(
    config: Config,
    port: int,
    page: MetricsPage,
    servicers: _Servicers,
    *,
    tokens: Tokens | None,
    observer: Observer | None,
) -> AsyncIterator[None]:
    """Runs the gRPC server around the block, and drains it afterwards."""
    transport = choose_transport(config)
    server = transport.server(channel_arguments(config))
    instrumented = InstrumentedServer(server, page, tokens, observer, probes=(health.SERVICE_NAME,))
    instrumented.register(pb2_grpc.add_TextClassifierServicer_to_server, servicers.text_classifier)
    instrumented.register(open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server, servicers.open_inference)
    instrumented.register(health_pb2_grpc.add_HealthServicer_to_server, servicers.health)
    if config.reflection == "on":
        names = (*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        instrumented.register(
            reflection_pb2_grpc.add_ServerReflectionServicer_to_server, reflection.aio.ReflectionServicer(names)
        )
    for service in ("", *_SERVICES):
        await servicers.health.set(service, health_pb2.HealthCheckResponse.NOT_SERVING)
    _listen(transport, server, config.host, port, tls_files(config))
    await server.start()
    try:
        async with _health_server(config, transport, servicers.health):
            yield
    finally:
        await server.stop(config.grace_period)


@asynccontextmanager
async def _health_server(
    config: Config, transport: Transport, health_servicer: health.aio.HealthServicer
) -> AsyncIterator[None]:
    """Answers on the health port, if there is to be one, while the block runs."""
    if config.health_port is None:
        yield
        return
    server = transport.server([SHARED_PORT])
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    _listen(transport, server, config.host, config.health_port, None)
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


def _listen(transport: Transport, server: Any, host: str, port: int, files: TlsFiles | None) -> None:
    address = f"{host}:{port}"
    try:
        if files:
            server.add_secure_port(address, transport.credentials(files))
        else:
            server.add_insecure_port(address)
    except RuntimeError as error:
        raise StartError(f"cannot listen on {address}") from error
