"""The server of one worker: connects its parts, and runs them from start to stop."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from service.config import Config
from service.grpc.health import HealthServicer
from service.grpc.instrumentation import Instruments
from service.grpc.server import Servicers, grpc_server
from service.grpc.transport import choose_transport
from service.http.app import HttpOptions, http_app
from service.http.server import http_server
from service.inference.batching import Batcher, QueueLimits
from service.inference.classification import ClassificationService, RequestLimits
from service.inference.explanations import ExplanationQueue, Explanations
from service.inference.reconciler import Publish, Reconciler
from service.inference.repository import ModelRepository
from service.inference.servable import Servable
from service.inference.shadowing import Shadowing
from service.inference.version_policy import VersionPolicy
from service.process.allocator import return_freed_memory
from service.process.child_pipe import ChildEnd
from service.process.heartbeat import Heartbeat
from service.security.tokens import Tokens
from service.telemetry.call_observer import Observer
from service.telemetry.metrics import ModelMetrics, VersionStates
from service.telemetry.shared_metrics import MetricsPage
from textmodel import Engine, VersionFolder
from textmodel.version_folder import Fingerprint


async def serve(
    config: Config,
    port: int,
    http_port: int | None,
    pages: tuple[MetricsPage, MetricsPage],
    supervisor: ChildEnd,
    *,
    threads: int,
    all_pages: Sequence[MetricsPage],
) -> None:
    """Serves until SIGTERM, or until the supervisor has ended.

    Args:
        config: the server's configuration.
        port: the gRPC port, which other workers listen on too.
        http_port: the HTTP port, which other workers listen on too; None: no HTTP.
        pages: the memory for this worker's metrics, and for those of calls that the native transport answers without
            Python.
        supervisor: the connection to the supervisor.
        threads: number of threads of the native transport.
        all_pages: the memory for the metrics of all workers.

    Raises:
        StartError: the server cannot listen on the port, or an exporter of traces cannot start.
        ModelError: there is no model to serve, and the configuration requires one.
    """
    return_freed_memory()
    page, native_page = pages
    repository = ModelRepository()
    shadowing = Shadowing(config, page, all_pages)
    heartbeat = Heartbeat(supervisor, config.heartbeat_timeout)
    reconciler = _reconciler(config, repository, page, shadowing, heartbeat)
    request_limits = RequestLimits(config.max_texts, config.max_text_bytes, config.max_explain_bytes)
    classification = ClassificationService(repository, request_limits)
    transport = choose_transport(config, threads)
    servicers = Servicers.of(repository, classification, transport.name)
    tokens = Tokens(config.tokens) if config.tokens else None
    stop = asyncio.Event()
    handlers = {signal.SIGTERM: stop.set, signal.SIGHUP: reconciler.refresh}
    async with heartbeat.running():
        with _observer(config) as observer, _signal_handlers(handlers):
            instruments = Instruments(page, tokens, observer, native_page)
            app = http_app(servicers, instruments, HttpOptions.of(config, port))
            async with (
                http_server(config, http_port, app, stop),
                grpc_server(config, port, servicers, repository, instruments, transport=transport),
            ):
                await _run_until(
                    stop,
                    _load_and_watch(reconciler, config),
                    _tell_when_ready(repository, supervisor),
                    _watch(supervisor, servicers.health, stop),
                )
                servicers.health.stop()
        await reconciler.close()
        shadowing.close()


def _reconciler(
    config: Config, repository: ModelRepository, page: MetricsPage, shadowing: Shadowing, heartbeat: Heartbeat
) -> Reconciler:
    return Reconciler(
        repository,
        config.models,
        engine=config.engine,
        policy=VersionPolicy(config.keep_versions, dict(config.pin), dict(config.shadow)),
        publish=publisher(config, page),
        start_shadow=shadowing.start,
        states=VersionStates(page),
        while_loading=heartbeat.loading,
    )


async def _run_until(stop: asyncio.Event, *work: Coroutine[Any, Any, None]) -> None:
    """Runs the coroutines until the event is set, or until one of them raises."""
    stopping = asyncio.create_task(stop.wait())
    tasks: set[asyncio.Task[Any]] = {stopping, *map(asyncio.create_task, work)}
    pending = tasks
    try:
        while stopping in pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for task in tasks:
            task.cancel()


async def _load_and_watch(reconciler: Reconciler, config: Config) -> None:
    await reconciler.load(required=config.require_model == "on")
    await reconciler.watch(config.watch_interval)


async def _tell_when_ready(repository: ModelRepository, supervisor: ChildEnd) -> None:
    """Tells the supervisor that this worker is ready once a model is in service."""
    await repository.serves.wait()
    supervisor.ready()


async def _watch(supervisor: ChildEnd, health: HealthServicer, stop: asyncio.Event) -> None:
    """Sets the health status that the supervisor sends. Sets `stop` when the supervisor has ended."""
    async for serving in supervisor.serving():
        health.set(serving)
    stop.set()


def publisher(config: Config, page: MetricsPage) -> Publish:
    """Returns the function that makes the servable of a verified engine."""
    limits = QueueLimits(config.max_batch_texts, config.max_queue_texts, config.max_queue_bytes)
    explanation_queue = ExplanationQueue()

    def publish(folder: VersionFolder, files: Fingerprint, name: str, version: int, engine: Engine) -> Servable:
        counts = folder.metadata.data_set.label_texts
        metrics = ModelMetrics(page, name, version, engine.name, folder.labels, label_texts=counts)
        batcher = Batcher(name, engine, limits, metrics)
        explanations = Explanations(explanation_queue, name, version, folder.path, files)
        return Servable(name, version, folder.labels, folder.metadata, engine, batcher, metrics, explanations)

    return publish


@contextmanager
def _observer(config: Config) -> Iterator[Observer | None]:
    """Yields the observer of calls; None if no option needs one. At the end of the block, the last spans are sent.

    Raises:
        StartError: an exporter of traces cannot start.
    """
    access_log = config.access_log == "on"
    if config.tracing == "off":
        # Captured texts have the request's id, too.
        yield Observer(access_log, None) if access_log or config.capture else None
        return
    from service.telemetry.tracing import tracing  # noqa: PLC0415, an extra

    with tracing() as tracer:
        yield Observer(access_log, tracer)


@contextmanager
def _signal_handlers(handlers: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    """Has the event loop call these handlers at their signals during the block."""
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
