"""Both clients, against the real server."""

import asyncio
import itertools
import json
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import AsyncIterator, Iterator
from math import exp
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.server_process import ServerProcess, serving
from text_classifier import AsyncClient, Classification, Client, State, __version__
from text_classifier.calls import UNANSWERED_TEXTS


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.address, timeout=60) as open_client:
        yield open_client


def test_calls_to_this_machine_do_not_go_through_a_proxy(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("grpc_proxy", "https_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)

    async def models() -> Any:
        async with AsyncClient(server.address, timeout=60) as client:
            return await client.models()

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed.getsockname()[1]}")
        with Client(server.address, timeout=60) as client:
            assert client.models() == asyncio.run(models())


@pytest.mark.parametrize(
    ("address", "kind", "says"),
    [
        ("", ValueError, "is empty: give host and port, as 127.0.0.1:50051"),
        (" ", ValueError, "is empty"),
        (None, TypeError, "address is NoneType, not str: give host and port"),
        (50051, TypeError, "address is int"),
        ("localhost", ValueError, "'localhost' has no port, and gRPC would take 443"),
        ("localhost:", ValueError, "has no port"),
        ("[::1]", ValueError, "has no port"),
        ("dns:///localhost", ValueError, "has no port"),
        ("localhost:0", ValueError, "'0' is no port, 1 to 65535"),
        ("localhost:65536", ValueError, "'65536' is no port, 1 to 65535"),
        ("localhost:grpc", ValueError, "'grpc' is no port, 1 to 65535"),
        ("local host:1", ValueError, "is no host and port"),
        ("::1", ValueError, "write an IPv6 address in brackets, as [::1]:50051"),
        ("2001:db8::1", ValueError, "as [2001:db8::1]:50051"),
        ("::1:51051", ValueError, "as [::1]:51051"),
        ("unix:", ValueError, "the address 'unix:' has nothing behind its scheme"),
        ("unix:///", ValueError, "has nothing behind its scheme"),
        ("unix-abstract:", ValueError, "has nothing behind its scheme"),
        ("[localhost]:1", ValueError, "'localhost' is no ipv6 address"),
        ("a:1,b:2", ValueError, "for several servers give a name in DNS, or ipv4:10.0.0.1:50051,10.0.0.2:50051"),
        ("ipv4:a,50061", ValueError, "'a' is no ipv4 address: give ipv4:10.0.0.1:50051,10.0.0.2:50051"),
        ("ipv4:10.0.0.1:1,", ValueError, "'' is no ipv4 address"),
        ("ipv6:::1:1", ValueError, "has no port"),
        ("ipv6:localhost:1", ValueError, "'localhost' is no ipv6 address: give ipv6:[::1]:50051"),
        ("http://localhost:8080", ValueError, "is a URL: give host and port"),
    ],
)
def test_an_address_that_is_none_is_refused_by_the_constructor(address: Any, kind: type[Exception], says: str) -> None:
    for client in (Client, AsyncClient):
        with pytest.raises(kind) as error:
            client(address)
        assert says in str(error.value)


@pytest.mark.parametrize(
    "address",
    [
        "localhost:1",
        "my-host_1.example.:1",
        "[::1]:1",
        "[fe80::1%eth0]:1",
        "dns:localhost:1",
        "dns:///localhost:1",
        "dns://8.8.8.8/localhost:1",
        "ipv4:10.0.0.1:1,10.0.0.2:2",
        "ipv6:[::1]:1",
        "unix:/a/b",
        "unix:///a",
        "dns:1",
    ],
)
def test_an_address_of_any_form_that_grpc_knows_is_taken(address: str) -> None:
    Client(address).close()


@pytest.mark.parametrize("credentials", ["", "ca.pem", b"-----BEGIN CERTIFICATE-----"])
def test_credentials_that_are_not_those_of_grpc_are_a_type_error(credentials: Any) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(TypeError, match=r"not grpc.ChannelCredentials: call grpc.ssl_channel_credentials"):
            kind("10.0.0.1:1", credentials=credentials, token="a-token")


@pytest.mark.parametrize(
    ("timeout", "kind", "says"),
    [
        ("5", TypeError, "timeout is str, not a number of seconds"),
        (True, TypeError, "timeout is bool"),
        (0, ValueError, "timeout is 0: give a number of seconds above 0"),
        (-1.5, ValueError, "timeout is -1.5"),
        (float("nan"), ValueError, "timeout is nan"),
        (float("inf"), ValueError, "timeout is inf"),
        (1e10, ValueError, "timeout is 10000000000.0: give a number of seconds above 0, at most 1000000000,"),
    ],
)
def test_a_timeout_that_is_none_is_refused_at_once(timeout: Any, kind: type[Exception], says: str) -> None:
    with Client(timeout=None) as client:
        for call in (
            lambda: Client(timeout=timeout),
            lambda: AsyncClient(timeout=timeout),
            lambda: client.models(timeout=timeout),
            lambda: client.classify_stream([], model="topic", timeout=timeout),
        ):
            with pytest.raises(kind) as error:
                call()
            assert says in str(error.value)


def test_classify_returns_typed_results_in_order(client: Client) -> None:
    dull, empty = client.classify(["dull film", ""], model="topic", top_k=2)
    assert isinstance(dull, Classification)
    assert (dull.words, dull.known_words, empty.words) == (2, 2, 0)
    assert (dull.model, dull.version) == ("topic", 1)
    assert dull.scores[0] == (dull.label, dull.probability)
    assert len(dull.scores) == 2
    assert client.classify(["dull film"], model="topic")[0].scores == ()


def test_an_explanation_is_there_when_it_is_asked_for(client: Client) -> None:
    text = "İI, DULL nowhere film"
    (plain,) = client.classify([text], model="sentiment")
    (explained,) = client.classify([text], model="sentiment", explain=True)
    assert plain.explanation is None
    assert explained._replace(explanation=None) == plain
    assert explained.explanation
    words = explained.explanation.words
    assert [text[word.start : word.end] for word in words] == ["İI", "DULL", "nowhere", "film"]
    assert [word.word for word in words] == ["i̇i", "dull", "nowhere", "film"]
    assert [word.known for word in words] == [False, True, False, True]
    logit = explained.explanation.bias + sum(word.contribution for word in words)
    assert 1 / (1 + exp(-logit)) == pytest.approx(explained.probability, abs=1e-5)
    assert list(client.classify_stream([text], model="sentiment", explain=True)) == [explained]


def test_a_single_string_is_a_type_error_and_not_classified_letter_by_letter(client: Client) -> None:
    with pytest.raises(TypeError, match="pass a list of texts"):
        client.classify("dull film", model="topic")
    with pytest.raises(TypeError, match="pass a list of texts"):
        client.classify_stream("dull film", model="topic")


def test_a_text_that_is_no_string_is_named(client: Client) -> None:
    texts: list[Any] = ["fine", None]
    with pytest.raises(TypeError, match=r"texts\[1\] is NoneType, not str"):
        client.classify(texts, model="topic")


def test_an_error_of_the_server_is_an_rpc_error_with_its_message(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as error:
        client.classify(["x"], model="nobody")
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
    assert "sentiment, topic" in str(error.value.details())


def test_a_stream_of_ten_thousand_texts_is_answered_in_order_without_holding_them(client: Client) -> None:
    taken = 0
    ahead = 0

    def texts() -> Iterator[str]:
        nonlocal taken
        for number in range(10_000):
            taken += 1
            yield "a " * (number % 5)

    for number, answer in enumerate(client.classify_stream(texts(), model="topic")):
        assert answer.words == number % 5
        ahead = max(ahead, taken - number)
    assert taken == 10_000
    assert ahead <= UNANSWERED_TEXTS + 2  # one waits to be sent, one is being answered


def test_a_stream_over_an_endless_iterable_ends_when_its_consumer_stops(client: Client) -> None:
    closed = threading.Event()

    def endless() -> Iterator[str]:
        try:
            for _ in itertools.count():
                yield "film"
        finally:
            closed.set()

    answers = client.classify_stream(endless(), model="topic")
    assert next(answers).words == 1
    answers.close()
    assert closed.wait(60)


def test_an_error_of_the_iterable_reaches_the_consumer(client: Client) -> None:
    def broken() -> Iterator[str]:
        yield "film"
        raise LookupError("no more texts")

    answers = client.classify_stream(broken(), model="topic")
    assert next(answers).words == 1
    with pytest.raises(LookupError, match="no more texts"):
        next(answers)


def test_a_refused_text_of_a_stream_is_noted_by_its_number_there(server: ServerProcess, client: Client) -> None:
    texts = [*["film"] * 300, "x" * (2**20 + 1), "film"]

    async def asynchronous() -> list[Classification]:
        async with AsyncClient(server.address, timeout=60) as async_client:
            return [answer async for answer in async_client.classify_stream(texts, model="topic")]

    def synchronous() -> list[Classification]:
        return list(client.classify_stream(texts, model="topic"))

    for classify in (synchronous, lambda: asyncio.run(asynchronous())):
        with pytest.raises(grpc.RpcError) as error:
            classify()
        assert "texts[0]: has 1048577 bytes" in str(error.value.details())
        assert error.value.__notes__ == ["texts[0] of this request is texts[300] of the stream"]


def test_models_are_described(client: Client) -> None:
    models = client.models()
    assert [model.name for model in models] == ["sentiment", "topic"]
    assert client.model("topic") == models[1]
    assert models[1].state is State.AVAILABLE
    assert models[1].labels == ("grain", "crude", "gold", "ship", "tin")


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_a_server_tells_its_version_and_what_carries_grpc(transport: str, tiny_models: Path) -> None:
    if transport == "native":
        pytest.importorskip("service.grpc._native_server", reason="the native transport is not built")
    with serving(tiny_models, "--workers", "1", "--transport", transport) as server, Client(server.address) as client:
        assert client.models().server == (__version__, transport)
        with urllib.request.urlopen(f"http://{server.http}/v1/models", timeout=60) as response:
            assert json.load(response)["server"] == {"version": __version__, "transport": transport}


def test_a_call_past_its_timeout_is_deadline_exceeded(client: Client) -> None:
    over = threading.Event()

    def slow() -> Iterator[str]:
        over.wait(60)
        yield "film"

    with pytest.raises(grpc.RpcError) as error:
        list(client.classify_stream(slow(), model="topic", timeout=0.1))
    over.set()
    assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with Client("127.0.0.1:1", timeout=60) as client, pytest.raises(grpc.RpcError) as error:
        client.classify(["x"], model="topic")
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE


def test_the_asyncio_client_does_the_same(server: ServerProcess, client: Client) -> None:
    async def asynchronous() -> AsyncIterator[str]:
        for text in ("dull film", "oil"):
            yield text

    async def run() -> None:
        async with AsyncClient(server.address, timeout=60) as async_client:
            expected = client.classify(["dull film", "oil"], model="topic", top_k=3, explain=True)
            answers = await async_client.classify(["dull film", "oil"], model="topic", top_k=3, explain=True)
            assert answers == expected
            for texts in (["dull film", "oil"], asynchronous()):
                streamed = async_client.classify_stream(texts, model="topic", top_k=3, explain=True)
                assert [answer async for answer in streamed] == expected
            assert await async_client.models() == client.models()
            assert await async_client.model("topic", version=1) == client.model("topic")
            with pytest.raises(grpc.RpcError) as error:
                await async_client.classify(["x"], model="nobody")
            assert error.value.code() is grpc.StatusCode.NOT_FOUND

    asyncio.run(run())


def test_an_error_of_the_iterable_reaches_the_asyncio_consumer(server: ServerProcess) -> None:
    async def broken() -> AsyncIterator[str]:
        yield "film"
        raise LookupError("no more texts")

    async def run() -> None:
        async with AsyncClient(server.address, timeout=60) as client:
            answers = client.classify_stream(broken(), model="topic")
            assert (await anext(answers)).words == 1
            with pytest.raises(LookupError, match="no more texts"):
                await anext(answers)

    asyncio.run(run())


def test_importing_the_client_imports_grpc_and_protobuf_only() -> None:
    script = "import sys, text_classifier, text_classifier.cli; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"tensorflow", "numpy", "textmodel", "service", "training"} & set(done.stdout.split())
    assert "grpc" in done.stdout.split()
