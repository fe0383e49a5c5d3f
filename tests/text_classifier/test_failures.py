"""What only a server that fails on purpose can show: retries, deadlines, and calls that end early. Also TLS."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence

import grpc
import pytest
import trustme

from tests.failing_service import FailingService, failing_service
from text_classifier import AsyncClient, Client


@pytest.fixture
def service() -> Iterator[FailingService]:
    yield from failing_service()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority of this run."""
    return trustme.CA()


@pytest.fixture
def tls_service(authority: trustme.CA) -> Iterator[FailingService]:
    certificate = authority.issue_cert("127.0.0.1")
    chain = b"".join(part.bytes() for part in certificate.cert_chain_pems)
    yield from failing_service(grpc.ssl_server_credentials([(certificate.private_key_pem.bytes(), chain)]))


@pytest.fixture
def client(service: FailingService) -> Iterator[Client]:
    with Client(service.address, timeout=60) as open_client:
        yield open_client


@pytest.mark.parametrize("size", [4, 1 << 20], ids=["small", "1 MiB"])
def test_a_request_of_any_size_is_tried_again_when_unavailable(
    service: FailingService, client: Client, size: int
) -> None:
    service.failures = 2
    assert len(client.classify(["x" * size], model="m")) == 1
    assert service.calls == 3


def test_a_stream_is_tried_again_when_unavailable(service: FailingService, client: Client) -> None:
    service.failures = 2
    assert [answer.words for answer in client.classify_stream(["a", "a b"], model="m")] == [1, 2]
    assert service.calls == 3


def test_an_error_after_the_last_answer_of_a_stream_is_none(service: FailingService, client: Client) -> None:
    async def run(texts: Sequence[str]) -> list[int]:
        async with AsyncClient(service.address, timeout=60) as asynchronous:
            return [answer.words async for answer in asynchronous.classify_stream(texts, model="m")]

    service.stream_answers = 2
    assert [answer.words for answer in client.classify_stream(["a", "a b"], model="m")] == [1, 2]
    assert asyncio.run(run(["a", "a b"])) == [1, 2]
    for texts in (["a", "b", "c"], []):
        with pytest.raises(grpc.RpcError, match="too late"):
            list(client.classify_stream(texts, model="m"))
        with pytest.raises(grpc.RpcError, match="too late"):
            asyncio.run(run(texts))


def test_the_fifth_failure_is_raised(service: FailingService, client: Client) -> None:
    service.failures = 9
    with pytest.raises(grpc.RpcError) as error:
        client.classify(["x"], model="m")
    assert (error.value.code(), error.value.details()) == (grpc.StatusCode.UNAVAILABLE, "come again")
    assert service.calls == 5


def test_a_response_larger_than_grpcs_default_limit_is_read(client: Client) -> None:
    assert len(client.classify(["x"] * 1000, model="m")) == 1000  # 5 MB of labels


def test_a_call_has_the_clients_timeout_unless_it_says_otherwise(service: FailingService) -> None:
    service.proceed.clear()
    with Client(service.address, timeout=0.1) as client:
        with pytest.raises(grpc.RpcError) as error:
            client.classify(["x"], model="m")
        assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        service.proceed.set()
        assert client.classify(["x"], model="m", timeout=60)


def test_leaving_the_loop_ends_the_call(service: FailingService, client: Client) -> None:
    def first() -> int:
        for answer in client.classify_stream(itertools.repeat("film"), model="m"):
            return answer.words
        return 0

    assert first() == 1
    assert service.ended.wait(60)


def test_the_asyncio_client_tries_again_times_out_and_ends_its_calls(service: FailingService) -> None:
    async def endless() -> AsyncIterator[str]:
        while True:
            yield "film"

    async def run() -> None:
        async with AsyncClient(service.address, timeout=60) as client:
            service.failures = 2
            assert len(await client.classify(["x" * (1 << 20)], model="m")) == 1
            assert service.calls == 3
            service.ended.clear()
            answers = client.classify_stream(endless(), model="m")
            assert (await anext(answers)).words == 1
            await answers.aclose()
            assert await asyncio.to_thread(service.ended.wait, 60)
            with pytest.raises(TypeError, match="pass a list of texts"):
                client.classify_stream("film", model="m")
            service.proceed.clear()
            with pytest.raises(grpc.RpcError) as error:
                await client.classify(["x"], model="m", timeout=0.1)
            assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    asyncio.run(run())


def test_a_cancelled_asyncio_consumer_is_cancelled_and_ends_its_call(service: FailingService) -> None:
    async def run() -> None:
        answered = asyncio.Event()
        silence = asyncio.Event()

        async def one_then_silence() -> AsyncIterator[str]:
            yield "film"
            await silence.wait()

        async def consume(client: AsyncClient) -> None:
            async for _ in client.classify_stream(one_then_silence(), model="m"):
                answered.set()

        async with AsyncClient(service.address, timeout=60) as client:
            task = asyncio.create_task(consume(client))
            await answered.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(service.ended.wait, 60)

    asyncio.run(run())


def test_tls_reaches_a_server_whose_authority_is_given(tls_service: FailingService, authority: trustme.CA) -> None:
    credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    with Client(tls_service.address, credentials=credentials, timeout=60) as client:
        assert len(client.classify(["x"], model="m")) == 1

    async def run() -> None:
        async with AsyncClient(tls_service.address, credentials=credentials, timeout=60) as async_client:
            assert len(await async_client.classify(["x"], model="m")) == 1

    asyncio.run(run())


def test_tls_refuses_a_server_whose_authority_is_unknown(tls_service: FailingService) -> None:
    with Client(tls_service.address, credentials=grpc.ssl_channel_credentials(), timeout=60) as client:
        with pytest.raises(grpc.RpcError) as error:
            client.classify(["x"], model="m")
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert tls_service.calls == 0
