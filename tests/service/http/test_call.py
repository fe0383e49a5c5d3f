"""HTTP clients that stop waiting, with an engine that waits until it is told to go on."""

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from service.config import Config
from service.grpc.instrumentation import Instruments
from service.grpc.server import Servicers
from service.http import body, endpoint
from service.http.app import HttpOptions, http_app
from service.http.server import http_server
from service.inference.classification import ClassificationService, PendingClassification, RequestLimits
from service.inference.reconciler import Reconciler
from service.inference.repository import ModelRepository
from service.inference.servable import Servable
from service.inference.version_policy import VersionPolicy
from service.process.worker import publisher
from service.security.hosts import AllowedHosts
from service.telemetry.metrics import DROPPED, HTTP_REQUESTS, VersionStates
from service.telemetry.shared_metrics import PAGE_BYTES, MetricsPage
from tests.addresses import OWN_HOST, free_port
from textmodel import Engine, Prediction, VersionFolder
from textmodel.version_folder import Fingerprint


class GatedEngine:
    """Classifies when it is told to. Notes the texts of each call."""

    inline_bytes = 0

    def __init__(self, engine: Engine, gate: threading.Semaphore, calls: list[list[str]]) -> None:
        self.name = engine.name
        self._engine = engine
        self._gate = gate
        self._calls = calls

    def classify(self, texts: Sequence[str]) -> Prediction:
        self._calls.append(list(texts))
        assert self._gate.acquire(timeout=60)
        return self._engine.classify(texts)


class NotingService(ClassificationService):
    """Hands out what has been queued."""

    def __init__(self, repository: ModelRepository, limits: RequestLimits) -> None:
        super().__init__(repository, limits)
        self.queued: asyncio.Queue[asyncio.Future[Prediction]] = asyncio.Queue()

    def begin(self, *arguments: Any, **options: Any) -> PendingClassification:
        pending = super().begin(*arguments, **options)
        self.queued.put_nowait(pending.prediction)
        return pending


class Connection(NamedTuple):
    """On which a request has been sent."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> bytes:
        """Reads to the end."""
        return await self.reader.read()


class Routes:
    """The routes, served in this process."""

    def __init__(self, models: Path, max_bytes: int = 1000) -> None:
        self._max_bytes = max_bytes
        self.gate = threading.Semaphore(0)
        self.calls: list[list[str]] = []
        self._page = MetricsPage(bytearray(PAGE_BYTES))
        publish = publisher(Config(max_batch_texts=1), self._page)

        def publish_gated(
            folder: VersionFolder, files: Fingerprint, name: str, version: int, engine: Engine
        ) -> Servable:
            return publish(folder, files, name, version, GatedEngine(engine, self.gate, self.calls))

        self._repository = ModelRepository()
        self._reconciler = Reconciler(
            self._repository,
            models,
            engine="auto",
            policy=VersionPolicy(1, {}),
            publish=publish_gated,
            states=VersionStates(self._page),
        )
        self._classification = NotingService(self._repository, RequestLimits(100, max_bytes, max_bytes))
        self._port = free_port()

    async def run(self, test: Callable[["Routes"], Coroutine[Any, Any, None]]) -> dict[str, float]:
        """Runs a test. Returns how many requests were answered with which status, and dropped for which reason."""
        await self._reconciler.load()
        servicers = Servicers.of(self._repository, self._classification, "none")
        options = HttpOptions(self._max_bytes, 100, self._max_bytes, AllowedHosts("127.0.0.1"))
        app = http_app(servicers, Instruments(self._page), options)
        async with http_server(Config(host=OWN_HOST), self._port, app, asyncio.Event()):
            async with asyncio.timeout(60):
                await test(self)
        await self._reconciler.close()
        return {
            series.labels[-1]: float(values[0])
            for series, values in self._page.read()
            if series.family in (DROPPED.name, HTTP_REQUESTS.name) and values[0]
        }

    async def ask(self, text: str, *headers: str) -> "Connection":
        """Sends a request on a connection of its own."""
        reader, writer = await asyncio.open_connection(OWN_HOST, self._port)
        body = json.dumps({"texts": [text]})
        head = ("POST /v1/models/topic:classify HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers)
        writer.write("\r\n".join((*head, "Connection: close", "", body)).encode())
        return Connection(reader, writer)

    async def queued(self) -> asyncio.Future[Prediction]:
        """Waits for the next request to be queued."""
        return await self._classification.queued.get()


def test_a_client_that_leaves_has_its_queued_request_dropped_and_counted(tiny_models: Path) -> None:
    async def test(routes: Routes) -> None:
        first = await routes.ask("first")
        await routes.queued()
        leaving = await routes.ask("second")
        prediction = await routes.queued()
        leaving.writer.close()
        await asyncio.wait([prediction])
        assert prediction.cancelled()
        routes.gate.release(2)
        assert b"200 OK" in await first.answer()
        third = await routes.ask("third")
        assert b"200 OK" in await third.answer()
        assert routes.calls == [["first"], ["third"]]

    assert asyncio.run(Routes(tiny_models).run(test)) == {"200": 2, "499": 1, "cancelled": 1}


def test_a_request_whose_deadline_passes_never_reaches_the_engine(tiny_models: Path) -> None:
    async def test(routes: Routes) -> None:
        first = await routes.ask("first", "Grpc-Timeout: 1H")
        await routes.queued()
        late = await routes.ask("second", "Grpc-Timeout: 20m")
        answer = await late.answer()  # while the engine is busy
        assert b"504 Gateway Timeout" in answer
        assert b"DEADLINE_EXCEEDED" in answer
        routes.gate.release(2)
        assert b"200 OK" in await first.answer()
        third = await routes.ask("third")
        assert b"200 OK" in await third.answer()
        assert routes.calls == [["first"], ["third"]]

    assert asyncio.run(Routes(tiny_models).run(test)) == {"200": 2, "504": 1, "deadline": 1}


def test_a_large_request_is_answered_before_the_pause_that_follows_its_decoding(
    tiny_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "PAUSE", 1e6)
    bodies = body.Bodies(1 << 21)
    monkeypatch.setattr("service.http.app.Bodies", lambda _: bodies)
    large = "x" * (1 << 20)

    async def test(routes: Routes) -> None:
        routes.gate.release(3)
        first = await routes.ask(large)
        assert b"200 OK" in await first.answer()
        second, small = await routes.ask(large), await routes.ask("small")
        assert b"200 OK" in await small.answer()
        assert [len(texts[0]) for texts in routes.calls] == [1 << 20, 5]
        bodies.large.release()  # the end of the pause
        assert b"200 OK" in await second.answer()

    asyncio.run(Routes(tiny_models, 1 << 21).run(test))
