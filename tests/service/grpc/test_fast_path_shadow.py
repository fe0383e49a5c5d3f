"""The shadow of a model that the native transport answers without Python."""

import asyncio
import json
import re
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from service.config import Config
from service.grpc.instrumentation import Instruments
from service.grpc.server import Servicers, grpc_server
from service.grpc.stubs import open_inference_pb2 as infer_pb2
from service.grpc.stubs import open_inference_pb2_grpc as infer_grpc
from service.grpc.transport import choose_transport
from service.inference import shadow as shadow_module
from service.inference.classification import ClassificationService, RequestLimits
from service.inference.reconciler import Reconciler
from service.inference.repository import ModelRepository
from service.inference.servable import Servable
from service.inference.shadow import Compared, Shadow
from service.inference.version_policy import VersionPolicy
from service.process.worker import publisher
from service.telemetry.call_observer import Observer
from service.telemetry.metrics import HANDLED, VersionStates
from service.telemetry.shadow_metrics import DROPPED, ShadowMetrics
from service.telemetry.shared_metrics import PAGE_BYTES, Family, MetricsPage
from tests.event_loop import in_event_loop
from tests.server_process import ServerProcess, serving
from tests.tiny_model import WORDS
from text_classifier.v1 import text_classifier_pb2 as pb2
from text_classifier.v1 import text_classifier_pb2_grpc as pb2_grpc

pytest.importorskip("service.grpc._native_server", reason="the native transport is not built")

TEXTS = [f"{first} {second} film" for first in WORDS for second in WORDS]
LARGE = ["a moving film " * 100] * 100
"""More texts than the engine classifies at once."""


def ask_in_every_way(server: ServerProcess) -> list[str]:
    """Calls all methods, and returns the ids of the calls."""
    with grpc.insecure_channel(server.address) as channel:
        stub, infer = pb2_grpc.TextClassifierStub(channel), infer_grpc.GRPCInferenceServiceStub(channel)

        def request(texts: Sequence[str], **options: Any) -> pb2.ClassifyRequest:
            return pb2.ClassifyRequest(model="sentiment", texts=texts, **options)

        tensor = infer_pb2.ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=[2])
        tensor.contents.bytes_contents.extend(text.encode() for text in TEXTS[8:10])
        messages = [request(TEXTS[5:7]), request(["ΟΔΥΣΣΕΥΣ"], explain=True), request([""])]
        calls: list[Any] = [
            (stub.Classify.with_call, request(TEXTS[:3], top_k=2), "an-id"),
            (stub.Classify.with_call, request(TEXTS[3:4], version=1, min_probability=0.9), "abstained"),
            (stub.Classify.with_call, request(TEXTS[4:5], version=2), "of-the-shadow-itself"),
            (stub.Classify.with_call, request(TEXTS[7:8], explain=True), "explained"),
            (stub.Classify.with_call, request(["İ", "naïve 😀"]), None),
            (stub.Classify.with_call, request(LARGE), "no id"),
            (infer.ModelInfer.with_call, infer_pb2.ModelInferRequest(model_name="sentiment", inputs=[tensor]), "x"),
        ]
        ended = [method(asked, metadata=metadata(id), timeout=60)[1] for method, asked, id in calls]
        stream = stub.ClassifyStream(iter(messages), timeout=60)
        assert len(list(stream)) == 3
        return [dict(call.trailing_metadata())["x-request-id"] for call in [*ended, stream]]


def metadata(request_id: str | None) -> Any:
    return (("x-request-id", request_id),) if request_id else ()


def test_both_transports_compare_and_capture_the_same(shadow_models: Path, tmp_path: Path) -> None:
    seen = {}
    for transport in ("native", "grpcio"):
        folder = tmp_path / transport
        flags = ("--transport", transport, "--workers", "1", "--capture", str(folder), "--capture-share", "1")
        with serving(shadow_models, *flags) as server:
            ids = ask_in_every_way(server)
            metrics = comparisons(server, texts=3 + 1 + 1 + 2 + len(LARGE) + 2 + 4)
        captured = [json.loads(line) for file in folder.iterdir() for line in file.read_text().splitlines()]
        texts = [line for line in captured if line["kind"] == "text"]
        assert [number for number, id in enumerate(ids) if re.fullmatch("[0-9a-f]{32}", id)] == [4, 5, 7]
        names = {id: number for number, id in enumerate(ids)}
        seen[transport] = (
            metrics,
            [id for id in ids if id not in (ids[4], ids[5], ids[7])],
            sorted((names[line.pop("request_id")], line.pop("time")[:0], *line.values()) for line in texts),
            sum(line["texts"] for line in captured if line["kind"] == "compared"),
        )
    assert seen["native"] == seen["grpcio"]


def comparisons(server: ServerProcess, texts: int) -> dict[str, float]:
    """Waits until so many texts have been compared, and returns the metrics of the shadow."""
    for _ in range(10_000):
        lines = (line.rsplit(" ", 1) for line in server.metrics().splitlines() if "_shadow_" in line and line[0] != "#")
        found = {name: float(value) for name, value in lines}
        # The differences are counted last.
        if sum(value for name, value in found.items() if 'le="+Inf"' in name) >= texts:
            return {name: round(value, 4) for name, value in found.items()}
    raise AssertionError(found)


class Recorder:
    """Keeps the ids of the texts that have been compared."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.request_ids: list[str] = []

    def record(self, name: str, version: int, shadow_version: int, compared: Compared) -> None:
        with self._changed:
            self.request_ids += compared.request_ids
            self._changed.notify()

    def wait(self, texts: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.request_ids) >= texts, timeout=60), self.request_ids


class Served:
    """A worker's gRPC server with the native transport, in this process."""

    def __init__(self, models: Path, socket: Path) -> None:
        self.config = Config(host=f"unix:{socket}", models=models)
        self.page, self.native_page = (MetricsPage(bytearray(PAGE_BYTES), owner=0) for _ in range(2))
        self.repository = ModelRepository()
        self.recorder = Recorder()
        self.reconciler = Reconciler(
            self.repository,
            models,
            engine="compiled",
            policy=VersionPolicy(1, {}),
            publish=publisher(self.config, self.page),
            states=VersionStates(self.page),
            start_shadow=self._start_shadow,
        )

    def _start_shadow(self, in_service: Servable, candidate: Servable) -> Shadow:
        versions = (in_service.name, in_service.version, candidate.version)
        metrics = ShadowMetrics(self.page, [self.page], versions, in_service.labels)
        return Shadow(in_service, candidate, 1, metrics, self.recorder)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Any]:
        """Yields the channel of a client."""
        classification = ClassificationService(self.repository, RequestLimits(1000, 100_000, 1000))
        servicers = Servicers.of(self.repository, classification, "native")
        ids_alone = Observer(access_log=False, tracer=None)  # as --capture has it
        instruments = Instruments(self.page, observer=ids_alone, native_page=self.native_page)
        transport = choose_transport(self.config)
        async with (
            grpc_server(self.config, 0, servicers, self.repository, instruments, transport=transport),
            grpc.aio.insecure_channel(self.config.host) as channel,
        ):
            await self.reconciler.load()
            yield channel
        await self.reconciler.close()

    @property
    def shadow(self) -> Shadow:
        shadow = self.repository.models["sentiment"].shadow
        assert shadow
        return shadow

    def answered(self) -> tuple[float, float]:
        """Returns how many calls were answered without Python, and by Python."""
        return total(self.native_page, HANDLED), total(self.page, HANDLED)

    async def compared(self, texts: int) -> None:
        """Waits until so many texts have been compared."""
        await asyncio.to_thread(self.recorder.wait, texts)


def total(page: MetricsPage, family: Family) -> float:
    return float(sum(values[0] for series, values in page.read() if series.family == family.name))


@pytest.fixture
def served(shadow_models: Path, tmp_path: Path) -> Callable[[], Served]:
    shutil.copytree(shadow_models, tmp_path / "models")
    return lambda: Served(tmp_path / "models", tmp_path / "socket")


@in_event_loop
async def test_each_method_is_answered_without_python_and_compared(served: Callable[[], Served]) -> None:
    server = served()
    request = pb2.ClassifyRequest(model="sentiment", texts=["a film"], version=1, top_k=2, min_probability=1)
    tensor = infer_pb2.ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=[1])
    inference = infer_pb2.ModelInferRequest(model_name="sentiment", inputs=[tensor], raw_input_contents=[b"\1\0\0\0a"])
    async with server.running() as channel:
        stub = pb2_grpc.TextClassifierStub(channel)
        classify = stub.Classify(request, metadata=metadata("one"))
        assert (await classify).classifications[0].abstained
        assert dict(await classify.trailing_metadata())["x-request-id"] == "one"
        stream = stub.ClassifyStream(iter([request] * 3), metadata=metadata("two"))
        assert len([response async for response in stream]) == 3
        await infer_grpc.GRPCInferenceServiceStub(channel).ModelInfer(inference, metadata=metadata("three"))
        assert server.answered() == (3, 0)
        await server.compared(5)
        assert server.recorder.request_ids == ["one", "two", "two", "two", "three"]


@in_event_loop
async def test_a_model_is_answered_without_python_as_its_shadow_comes_and_goes(served: Callable[[], Served]) -> None:
    server = served()
    file = server.config.models / "sentiment" / "shadow"
    async with server.running() as channel:
        stub = pb2_grpc.TextClassifierStub(channel)
        for calls, (version, texts) in enumerate((("2", 3), ("9", None), ("2", 6), ("", None)), 1):
            file.write_text(version) if version else file.unlink()
            (file.parent / "pin").write_text("1")
            await server.reconciler._scan()
            answer = await stub.Classify(pb2.ClassifyRequest(model="sentiment", texts=TEXTS[:3]))
            assert (answer.version, server.answered()) == (1, (calls, 0))
            assert (texts is None) == (server.repository.models["sentiment"].shadow is None)
            if texts:
                await server.compared(texts)


@in_event_loop
async def test_answers_that_find_no_room_are_dropped_and_counted(
    served: Callable[[], Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_module, "QUEUE_TEXTS", 4)
    began, may_end = threading.Event(), threading.Event()
    server = served()
    async with server.running() as channel:
        stub = pb2_grpc.TextClassifierStub(channel)
        engine = server.shadow.candidate.engine
        classify = engine.classify

        def classify_later(texts: Sequence[str]) -> Any:
            began.set()
            assert may_end.wait(timeout=60)
            return classify(texts)

        monkeypatch.setattr(engine, "classify", classify_later)
        request = pb2.ClassifyRequest(model="sentiment", texts=["a film"])
        await stub.Classify(request)
        await asyncio.to_thread(began.wait, 60)
        for _ in range(7):
            await stub.Classify(request)  # does not wait for the shadow
        may_end.set()
        await server.compared(5)
        if work := server.shadow._work:
            await work
        assert server.answered() == (8, 0)
        assert total(server.page, DROPPED) == 3


@in_event_loop
async def test_the_end_of_a_server_compares_what_waits(served: Callable[[], Served]) -> None:
    server = served()
    async with server.running() as channel:
        stub = pb2_grpc.TextClassifierStub(channel)
        await stub.Classify(pb2.ClassifyRequest(model="sentiment", texts=TEXTS[:2]))
        shadow = server.shadow
    assert shadow.agreement().texts == 2
