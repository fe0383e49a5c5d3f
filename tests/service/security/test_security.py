"""Who may call, and what the server tells whom."""

import asyncio
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service.config import Config
from service.errors import NotFound
from service.grpc.stubs import open_inference_pb2 as oip_pb2
from service.grpc.stubs import open_inference_pb2_grpc as oip_pb2_grpc
from service.inference.reconciler import Reconciler
from service.inference.repository import ModelRepository
from service.inference.version_policy import VersionPolicy
from service.process.worker import publisher
from service.telemetry.metrics import VersionStates
from service.telemetry.shared_metrics import PAGE_BYTES, MetricsPage
from tests.server_process import ROOT, ServerProcess, serving
from tests.tiny_model import write_model
from text_classifier import AsyncClient, Client
from text_classifier.cli import main
from text_classifier.v1 import text_classifier_pb2 as pb2
from text_classifier.v1 import text_classifier_pb2_grpc as pb2_grpc

FIRST, SECOND, THIRD = "first-token", "second/token+==", "third-token"


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"# of the shop\n{FIRST}\n\n  {SECOND}  \n")
    path.chmod(0o600)
    return path


@pytest.fixture
def guarded(tiny_models: Path, tokens: Path) -> Iterator[ServerProcess]:
    with serving(tiny_models, "--workers", "1", "--tokens", str(tokens)) as server:
        yield server


def reflect(channel: grpc.Channel) -> Any:
    reflection: Any = reflection_pb2_grpc
    stub = reflection.ServerReflectionStub(channel)
    return next(stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=60))


def refusal(server: ServerProcess, token: str | None) -> grpc.StatusCode | None:
    with Client(server.address, token=token, timeout=60) as client:
        try:
            client.classify(["oil"], model="topic")
        except grpc.RpcError as error:
            return error.code()
    return None


def test_with_tokens_every_method_but_health_needs_one(guarded: ServerProcess) -> None:
    with grpc.insecure_channel(guarded.address) as channel:
        stub = pb2_grpc.TextClassifierStub(channel)
        request = pb2.ClassifyRequest(model="topic", texts=["oil"])
        calls: list[Callable[[], object]] = [
            lambda: stub.Classify(request, timeout=60),
            lambda: next(stub.ClassifyStream(iter([request]), timeout=60)),
            lambda: stub.ListModels(pb2.ListModelsRequest(), timeout=60),
            lambda: stub.GetModel(pb2.GetModelRequest(name="topic"), timeout=60),
            lambda: oip_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(oip_pb2.ModelInferRequest(), timeout=60),
            lambda: reflect(channel),
        ]
        for call in calls:
            with pytest.raises(grpc.RpcError) as error:
                call()
            assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=60)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_each_token_of_the_file_is_let_in_and_nothing_else_is(guarded: ServerProcess) -> None:
    assert [refusal(guarded, token) for token in (FIRST, SECOND)] == [None, None]
    for wrong in (None, "x", FIRST[:-1], FIRST + "x", "#", "of"):
        assert refusal(guarded, wrong) is grpc.StatusCode.UNAUTHENTICATED
    with grpc.insecure_channel(guarded.address) as channel:
        for header in (FIRST, f"Basic {FIRST}", f"Bearer  {FIRST}", "Bearer ", "Bearer"):
            with pytest.raises(grpc.RpcError) as error:
                pb2_grpc.TextClassifierStub(channel).ListModels(
                    pb2.ListModelsRequest(), metadata=(("authorization", header),), timeout=60
                )
            assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_every_client_sends_its_token(
    guarded: ServerProcess, tokens: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def call() -> None:
        async with AsyncClient(guarded.address, token=FIRST, timeout=60) as client:
            assert await client.classify(["oil"], model="topic")
            assert [answer async for answer in client.classify_stream(["oil"], model="topic")]
            assert await client.models()
            assert await client.model("topic")

    asyncio.run(call())
    with Client(guarded.address, token=FIRST, timeout=60) as client:
        assert list(client.classify_stream(["oil"], model="topic"))
        assert client.models()
        assert client.model("topic")
    alone = tokens.with_name("token")
    alone.write_text(f"{SECOND}\n")
    command = ["text-classifier", "models", "--address", guarded.address]
    for extra, variable, status in (([], "", 1), (["--token-file", str(alone)], "", 0), ([], FIRST, 0)):
        monkeypatch.setattr(sys, "argv", [*command, *extra])
        monkeypatch.setenv("TEXT_CLASSIFIER_TOKEN", variable)
        assert main() == status
    assert "--token-file" in capsys.readouterr().err


def test_a_changed_token_file_counts_without_a_restart_and_an_unusable_one_does_not(
    guarded: ServerProcess, tokens: Path
) -> None:
    tokens.write_text(f"{THIRD}\n")
    assert refusal(guarded, THIRD) is None
    assert refusal(guarded, FIRST) is grpc.StatusCode.UNAUTHENTICATED
    for content in (b"", b"# none\n", b"two words\n", b"\xff\n"):
        tokens.write_bytes(content)
        before = guarded.log[-1]
        assert refusal(guarded, THIRD) is None
        guarded.event("not reloaded", after=before, what="tokens")
    tokens.unlink()
    assert refusal(guarded, THIRD) is None


def test_tokens_are_in_no_log_and_no_metric(guarded: ServerProcess, tokens: Path) -> None:
    assert refusal(guarded, FIRST) is None
    assert refusal(guarded, "wrong-token") is not None
    tokens.write_text("no token\n")
    assert refusal(guarded, FIRST) is None
    guarded.event("not reloaded")
    with pytest.raises(OSError, match="401"):
        guarded.metrics()
    told = f"{guarded.log}{guarded.metrics(FIRST)}"
    for secret in (FIRST, SECOND, "wrong-token", "no token"):
        assert secret not in told


@pytest.mark.parametrize("content", [None, "", "# none\n", "two words\n"])
def test_an_unusable_token_file_at_the_start_is_one_clear_line_and_status_2(
    content: str | None, tiny_models: Path, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "tokens").write_text(content)
    server = ServerProcess(tiny_models, "--tokens", str(tmp_path / "tokens"))
    assert server.wait() == 2
    (line,) = server.log
    assert str(tmp_path / "tokens") in line["line"]


def test_a_token_leaves_this_machine_only_encrypted() -> None:
    for address in ("example.com:50051", "dns:///example.com:1", "10.0.0.1:50051", "localhost.example:1"):
        with pytest.raises(ValueError, match="unencrypted"):
            Client(address, token=FIRST)
        Client(address, token=FIRST, credentials=grpc.ssl_channel_credentials()).close()
    with pytest.raises(ValueError, match="visible ASCII"):
        Client(token="two words")


def test_reflection_can_be_turned_off(tiny_models: Path) -> None:
    with serving(tiny_models, "--workers", "1", "--reflection", "off") as server:
        with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as error:
            reflect(channel)
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert refusal(server, None) is None
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://{server.http}/openapi.json", timeout=60)


def test_neither_metrics_nor_the_log_hold_a_request_s_text(tiny_models: Path) -> None:
    with serving(tiny_models, "--workers", "1", "--log-level", "debug") as server:
        with Client(server.address, timeout=60) as client:
            client.classify(["a secretive film"], model="topic")
            for model, texts in (("a secretive model", ["oil"]), ("topic", []), ("topic", ["a secretive film"] * 2000)):
                with pytest.raises(grpc.RpcError):
                    client.classify(texts, model=model)
        told = f"{server.log}{server.metrics()}"
    assert "secretive" not in told


def test_why_a_version_is_refused_is_told_without_where_it_is(tmp_path: Path) -> None:
    write_model(tmp_path, "topic")
    for damage in ("assets/labels.txt", "assets.extra/metadata.json", "variables/variables.index"):
        (write_model(tmp_path, "topic").path / damage).unlink()
    with serving(tmp_path, "--workers", "1") as server, Client(server.address, timeout=60) as client:
        reasons = [model.state_reason for model in client.models()]
    assert [re.split(":| is missing", reason)[0] for reason in reasons[1:]] == [
        "assets/labels.txt",
        "assets.extra/metadata.json",
        "variables/variables.index",
    ]
    assert str(tmp_path) not in str(reasons)


def test_a_model_s_name_in_a_request_never_touches_the_file_system(tiny_models: Path) -> None:
    page = MetricsPage(bytearray(PAGE_BYTES), owner=0)
    touched: list[str] = []
    watching = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event.partition(".")[0] in ("open", "os", "shutil", "glob", "pathlib"):
            touched.append(event)

    sys.addaudithook(hook)

    async def ask() -> None:
        nonlocal watching
        repository = ModelRepository()
        reconciler = Reconciler(
            repository,
            tiny_models,
            engine="auto",
            policy=VersionPolicy(1, {}),
            publish=publisher(Config(), page),
            states=VersionStates(page),
        )
        await reconciler.load()
        watching = True
        try:
            for name in ("../models/topic", "/etc/passwd", "topic/1", "topic\0", ".", "..", "~", "%2e%2e/topic"):
                for find in (repository.get, repository.find):
                    with pytest.raises(NotFound):
                        find(name, 0)
        finally:
            watching = False
        await reconciler.close()

    asyncio.run(ask())
    assert not touched


def test_nothing_that_a_server_reads_is_unpickled(tiny_models: Path) -> None:
    program = (
        "import sys, textmodel, service.process.worker\n"
        "def hook(event, arguments):\n"
        "    if event == 'pickle.find_class': raise RuntimeError(arguments)\n"
        "import pickle, tensorflow\n"
        "sys.addaudithook(hook)\n"
        "for kind in ('compiled', 'tensorflow'):\n"
        "    textmodel.load_engine(sys.argv[1], kind).classify(['the film'])\n"
        "print('loaded')"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, tiny_models / "topic" / "1"],
        cwd=ROOT,
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1"},  # as in a server
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout == "loaded\n", run.stderr
