"""A shadow version under a running server, and its queue, labels and failures without one."""

import asyncio
import json
import re
import shutil
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from service.config import Config
from service.grpc.stubs import open_inference_pb2, open_inference_pb2_grpc
from service.inference.servable import Answer, Servable
from service.inference.shadow import BATCH_TEXTS, PAUSE, QUEUE_TEXTS, Compared, Shadow
from service.process.worker import publisher
from service.telemetry.shadow_metrics import Agreement, ShadowMetrics
from service.telemetry.shared_metrics import PAGE_BYTES, MetricsPage
from tests.event_loop import in_event_loop
from tests.server_process import ServerProcess, serving
from tests.tiny_model import WORDS
from text_classifier import Client, Model, cli
from textmodel import Prediction, VersionFolder, load_engine
from textmodel.version_folder import fingerprint, served_version

TEXTS = [f"{first} {second} film" for first in WORDS for second in WORDS]


@pytest.fixture(scope="module")
def shadowed(shadow_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    capture = str(tmp_path_factory.mktemp("captured"))
    with serving(shadow_models, "--workers", "2", "--capture", capture) as server:
        yield server


@pytest.fixture(scope="module")
def client(shadowed: ServerProcess) -> Iterator[Client]:
    with Client(shadowed.address, timeout=60) as client:
        yield client


def compared(client: Client, texts: int) -> Model:
    """Returns the shadow once it has been compared on so many texts."""
    for _ in range(100_000):
        shadow = client.model("sentiment", version=2)
        assert shadow.shadow
        if shadow.shadow.texts >= texts:
            return shadow
    raise AssertionError(f"no {texts} texts: {shadow}")


def expected_agreements(models: Path, texts: Sequence[str]) -> int:
    first, second = (
        load_engine(models / "sentiment" / version).classify(texts).probabilities.argmax(axis=1) for version in "12"
    )
    return int((first == second).sum())


def test_the_shadow_sees_what_comes_by_every_protocol_and_answers_none_of_it(
    shadowed: ServerProcess, client: Client, shadow_models: Path
) -> None:
    def post(path: str, body: object) -> Any:
        request = urllib.request.Request(f"http://{shadowed.http}{path}", json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)

    tensor = {"name": "text", "datatype": "BYTES", "shape": [2], "data": TEXTS[4:6]}
    with grpc.insecure_channel(shadowed.address) as channel:
        inference = open_inference_pb2.ModelInferRequest(model_name="sentiment")
        contents = open_inference_pb2.InferTensorContents(bytes_contents=[text.encode() for text in TEXTS[6:8]])
        inference.inputs.add(name="text", datatype="BYTES", shape=[2], contents=contents)
        versions = [
            *(answer.version for answer in client.classify(TEXTS[:1], model="sentiment")),
            *(answer.version for answer in client.classify_stream(TEXTS[1:2], model="sentiment")),
            post("/v1/models/sentiment:classify", {"texts": TEXTS[2:4]})["version"],
            int(post("/v2/models/sentiment/infer", {"inputs": [tensor]})["model_version"]),
            int(open_inference_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(inference).model_version),
        ]
        client.classify(TEXTS[8:], model="sentiment", version=2)  # of itself a shadow is not compared
    assert versions == [1] * 5
    shadow = compared(client, 8).shadow
    assert shadow == (8, expected_agreements(shadow_models, TEXTS[:8]))
    described = client.model("sentiment")
    assert (described.version, described.shadow) == (1, None)


def test_metrics_command_and_http_tell_how_often_the_shadow_agrees(
    shadowed: ServerProcess, client: Client, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = client.model("sentiment", version=2).shadow
    assert before
    client.classify(TEXTS, model="sentiment")
    shadow = compared(client, before.texts + len(TEXTS)).shadow
    assert shadow
    monkeypatch.setattr("sys.argv", ["text-classifier", "models", "--address", shadowed.address])
    assert cli.main() == 0
    share = f"{shadow.agreements / shadow.texts:.2%}"
    assert f"available, shadow: agrees on {share} of {shadow.texts:,} texts" in capsys.readouterr().out
    with urllib.request.urlopen(f"http://{shadowed.http}/v1/models", timeout=60) as response:
        assert json.load(response)["models"][1]["shadow"] == shadow._asdict()
    counts = re.findall(r'shadow_texts_total\{agrees="(\w+)".*\} (.*)', shadowed.metrics())
    assert sum(float(count) for _, count in counts) == shadow.texts
    assert sum(float(count) for agrees, count in counts if agrees == "true") == shadow.agreements

    def differences() -> float:
        found = re.search(r'shadow_probability_difference_bucket\{le="\+Inf".*\} (.*)', shadowed.metrics())
        assert found
        return float(found[1])

    assert any(differences() == shadow.texts for _ in range(10_000))  # they are counted last


def test_the_server_warns_that_texts_are_stored(shadowed: ServerProcess) -> None:
    assert "texts of requests are stored in" in shadowed.event("exposed")["reason"]


def test_shadows_start_and_end_with_their_file_while_the_server_runs(shadow_models: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(shadow_models, tmp_path / "models")) / "sentiment"
    (folder / "shadow").unlink()
    (folder / "pin").write_text("1")
    flags = ("--workers", "1", "--watch-interval", "0.05", "--shadow", "sentiment=1")
    with serving(folder.parent, *flags) as server, Client(server.address, timeout=60) as client:
        assert client.model("sentiment").version == 1  # pinned: the version in service is no shadow
        (folder / "shadow").write_text("2")
        server.event("shadow started", model="sentiment", version=2, beside=1)
        (folder / "shadow").write_text("two")
        server.event("cannot choose a version", model="sentiment")
        (folder / "shadow").write_text("2")
        (folder / "pin").write_text("2")  # promoted
        server.event("shadow ended", version=2)
        server.event("model in service", model="sentiment", version=2)
        assert client.classify(TEXTS[:1], model="sentiment")[0].version == 2
        assert "shadow_texts_total{" not in server.metrics()


def test_a_shadow_is_not_the_served_version_unless_pinned_or_the_only_one(shadow_models: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(shadow_models / "sentiment", tmp_path / "sentiment"))
    assert served_version(folder) == 1
    (folder / "pin").write_text("2")
    assert served_version(folder) == 2
    (folder / "pin").unlink()
    shutil.rmtree(folder / "1")
    assert served_version(folder) == 2


class Engine:
    """Gives texts that hold "b" the second label; waits until it may, and fails if told to."""

    name = "test"
    inline_bytes = 0

    def __init__(self) -> None:
        self.may = threading.Event()
        self.may.set()
        self.fails = False
        self.calls: list[int] = []

    def classify(self, texts: Sequence[str]) -> Prediction:
        assert self.may.wait(timeout=60)
        self.calls.append(len(texts))
        if self.fails:
            raise ValueError
        rows = [[0.25, 0.75] if "b" in text else [0.75, 0.25] for text in texts]
        zeros = np.zeros(len(texts), np.int32)
        return Prediction(np.array(rows, np.float32), zeros, zeros)


class Pair:
    """A version in service whose labels are `x` and `y`, and a shadow with an engine of its own."""

    def __init__(self, folder: Path, labels: tuple[str, ...] = ("x", "y")) -> None:
        self.page = MetricsPage(bytearray(PAGE_BYTES), owner=0)
        self.engine = Engine()
        publish = publisher(Config(), self.page)
        version = VersionFolder(folder)
        version.__dict__["labels"] = ("x", "y")
        self.in_service = publish(version, fingerprint(folder), "m", 1, Engine())
        version.__dict__["labels"] = labels
        candidate = publish(version, fingerprint(folder), "m", 2, self.engine)
        metrics = ShadowMetrics(self.page, [self.page], ("m", 1, 2), self.in_service.labels)
        self.shadow = Shadow(self.in_service, candidate, 1, metrics)

    def offer(self, texts: Sequence[str]) -> None:
        self.shadow.offer(texts, answer_of(self.in_service, texts), "")

    async def agreement(self) -> Agreement:
        """Waits for all comparisons, and returns what they came to."""
        if self.shadow._work:
            await self.shadow._work
        return self.shadow.agreement()

    def dropped(self, reason: str) -> float:
        return next(float(values[0]) for series, values in self.page.read() if series.labels == ("m", "1", "2", reason))


def answer_of(servable: Servable, texts: Sequence[str]) -> Answer:
    probabilities = servable.engine.classify(texts).probabilities
    winners = probabilities.argmax(axis=1).tolist()
    return Answer(probabilities, winners, probabilities.max(axis=1).tolist(), [], [])


@pytest.fixture
def folder(tiny_models: Path) -> Path:
    return tiny_models / "sentiment" / "1"


@in_event_loop
async def test_requests_that_gather_share_an_engine_call_up_to_its_bound(folder: Path) -> None:
    pair = Pair(folder)
    for _ in range(3):
        pair.offer(["a"] * (BATCH_TEXTS // 2))
    assert await pair.agreement() == (3 * (BATCH_TEXTS // 2), 3 * (BATCH_TEXTS // 2))
    assert pair.engine.calls == [BATCH_TEXTS, BATCH_TEXTS // 2]


@in_event_loop
async def test_labels_are_compared_by_name_whatever_their_order(folder: Path) -> None:
    pair = Pair(folder, labels=("y", "z"))
    pair.offer(["a", "b"])  # in service x and y; the shadow says y and z
    assert await pair.agreement() == (2, 0)
    (differences,) = (values for series, values in pair.page.read() if "difference" in series.family)
    assert differences[-1] == pytest.approx((0 - 0.75) + (0.25 - 0.75))  # it does not have x


@in_event_loop
async def test_a_full_queue_drops_and_counts_and_never_delays(folder: Path) -> None:
    pair = Pair(folder)
    pair.engine.may.clear()
    for _ in range(QUEUE_TEXTS // 64 + 1):
        pair.offer(["a"] * 64)
    assert pair.dropped("overload") == 64
    pair.engine.may.set()
    assert await pair.agreement() == (QUEUE_TEXTS, QUEUE_TEXTS)


class Recorder:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, int, Compared]] = []

    def record(self, name: str, version: int, shadow_version: int, compared: Compared) -> None:
        self.told.append((name, version, shadow_version, compared))


@in_event_loop
async def test_a_recorder_is_told_both_answers_and_what_was_dropped_since_the_last_time(folder: Path) -> None:
    pair = Pair(folder, labels=("y", "x"))
    pair.shadow._recorder = recorder = Recorder()
    texts = ["a", "b"]
    for dropped in (7, 0):
        pair.shadow._dropped += dropped
        pair.shadow.offer(texts, answer_of(pair.in_service, texts), "an id")
        await pair.agreement()
    assert [told[:3] for told in recorder.told] == [("m", 1, 2)] * 2
    first, second = (told[3] for told in recorder.told)
    assert (first.dropped, second.dropped) == (7, 0)
    assert (first.texts, first.request_ids) == (texts, ["an id", "an id"])
    assert (first.labels, first.probabilities) == (["x", "y"], [0.75, 0.75])
    assert (first.shadow_labels, first.shadow_probabilities) == (["y", "x"], [0.75, 0.75])
    assert first.agrees.tolist() == [False, False]


@in_event_loop
async def test_a_shadow_s_queue_holds_8_mib_of_characters(folder: Path) -> None:
    pair = Pair(folder)
    pair.offer(["a"])
    pair.offer(["a" * (2**23 - 1)])
    assert pair.dropped("overload") == 0
    pair.offer(["a"])
    assert pair.dropped("overload") == 1
    assert await pair.agreement() == (2, 2)
    pair.offer(["a" * (2**23 + 1)])  # an empty queue takes even a request that is larger
    assert await pair.agreement() == (3, 3)


@in_event_loop
async def test_the_shadow_waits_while_requests_wait_for_the_version_in_service(folder: Path) -> None:
    pair = Pair(folder)
    busy = pair.in_service.engine
    assert isinstance(busy, Engine)
    busy.may.clear()
    first = pair.in_service.batcher.classify(["a"], 1)
    await asyncio.sleep(0)
    second = pair.in_service.batcher.classify(["a"], 1)
    pair.shadow.offer(["a"], Answer(np.zeros((1, 2), np.float32), [0], [0.75], [], []), "")
    assert pair.in_service.batcher.waiting
    for _ in range(3):  # the shadow looks again and again
        await asyncio.sleep(1.2 * PAUSE)
    assert not pair.engine.calls
    busy.may.set()
    await asyncio.gather(first, second)
    assert await pair.agreement() == (1, 1)


class BusyTransport:
    """Has one answer waiting, and its threads are busy until they have been looked at three times."""

    def __init__(self) -> None:
        self.looks = self.taken = 0

    def take(self, max_texts: int) -> tuple[list[str], list[int], list[float], list[str]]:
        assert self.looks >= 3
        self.taken += 1
        return ["b"], [0], [0.75], [""]

    def take_dropped(self) -> int:
        return 0

    def is_empty(self) -> bool:
        return self.taken == 1

    def threads_were_idle(self) -> bool:
        self.looks += 1
        return self.looks >= 3  # further looks may find the event loop late, as on a busy machine


@in_event_loop
async def test_the_shadow_waits_while_a_thread_of_the_transport_is_never_idle(folder: Path) -> None:
    pair = Pair(folder)
    transport = BusyTransport()
    assert pair.shadow.listen(lambda *_: transport) is transport
    pair.offer(["a"])
    assert await pair.agreement() == (2, 1)
    assert transport.taken == 1


@in_event_loop
async def test_an_engine_that_fails_is_counted_and_the_next_texts_are_compared(folder: Path) -> None:
    pair = Pair(folder)
    pair.engine.fails = True
    pair.offer(["a", "b"])
    assert await pair.agreement() == (0, 0)
    assert pair.dropped("error") == 2
    pair.engine.fails = False
    pair.offer(["a"])
    assert await pair.agreement() == (1, 1)


@in_event_loop
async def test_closing_compares_what_waits_and_ends_the_metrics(folder: Path) -> None:
    pair = Pair(folder)
    pair.offer(["a"])
    await pair.shadow.close()
    assert pair.engine.calls == [1]
    assert not any(series.live for series, _ in pair.page.read() if "shadow" in series.family)


@in_event_loop
async def test_the_share_samples_requests(folder: Path) -> None:
    pair = Pair(folder)
    pair.shadow._share = 0.0
    pair.offer(["a"])
    assert await pair.agreement() == (0, 0)
    assert pair.dropped("overload") == 0
    pair.shadow._share = 0.5
    for _ in range(400):
        pair.offer(["a"])
    assert 100 < (await pair.agreement()).texts < 300
