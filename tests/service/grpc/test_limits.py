"""The server under clients that ask too much: floods, streams without end, readers that do not read, pings."""

import importlib.util
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.grpc.channel_options import MAX_STREAMS, METADATA_BYTES
from tests.http2 import (
    CANCEL,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    Connection,
    connected,
    frame,
    grpc_request,
)
from tests.process_memory import growth
from tests.server_process import ServerProcess, serving
from text_classifier.v1 import text_classifier_pb2 as pb2
from text_classifier.v1 import text_classifier_pb2_grpc as pb2_grpc

REQUEST = pb2.ClassifyRequest(model="topic", texts=["oil"])
CLASSIFY = "/text_classifier.v1.TextClassifier/Classify"
FRAME_BYTES = 1 << 14  # the largest frame that HTTP/2 takes unless it is told otherwise
NATIVE = ("--workers", "1", "--transport", "native")


@pytest.fixture(scope="module")
def worker(tiny_models: Path) -> Iterator[ServerProcess]:
    """A server of one worker that lets hardly any call wait."""
    with serving(tiny_models, "--workers", "1", "--max-pending-calls", "1") as server:
        yield server


def connect(server: ServerProcess) -> grpc.Channel:
    """Opens a connection of its own; channels of one process would share one."""
    return grpc.insecure_channel(server.address, (("grpc.use_local_subchannel_pool", 1),))


def stub_of(channel: grpc.Channel) -> pb2_grpc.TextClassifierStub:
    return pb2_grpc.TextClassifierStub(channel)


def counted(server: ServerProcess, name: str, *labels: str) -> float:
    """The sum of a metric's series with these labels."""
    lines = (line for line in server.metrics().splitlines() if line.startswith(f"{name}{{"))
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(label in line for label in labels))


def test_calls_past_the_pending_bound_are_refused_and_health_still_answers(
    worker: ServerProcess,
) -> None:
    with ExitStack() as stack:
        stubs = [stub_of(stack.enter_context(connect(worker))) for _ in range(10)]
        health: Any = health_pb2_grpc.HealthStub(stack.enter_context(connect(worker)))
        # The native transport leaves a text with this character to Python, which is busy with it for a while.
        slow = pb2.ClassifyRequest(model="topic", texts=["İ" + "oil " * 200] * 60)
        calls = [stub.Classify.future(slow, timeout=60) for _ in range(30) for stub in stubs]
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=60).status
        refused = [call for call in calls if call.exception()]
    assert 0 < len(refused) < len(calls)
    native = worker.event("started")["transport"] == "native"
    code = grpc.StatusCode.RESOURCE_EXHAUSTED if native else grpc.StatusCode.CANCELLED
    assert {call.code() for call in refused} == {code}
    assert not native or {call.details() for call in refused} == {"the queue of calls is full, try again in 0.1 s"}


def test_a_connection_s_next_call_waits_until_one_of_its_streams_ends(worker: ServerProcess) -> None:
    end = threading.Event()

    def one_and_no_end() -> Iterator[pb2.ClassifyRequest]:
        yield REQUEST
        end.wait(60)

    with connect(worker) as channel, connect(worker) as another:
        streams = []
        for _ in range(MAX_STREAMS):
            streams.append(stub_of(channel).ClassifyStream(one_and_no_end()))
            next(streams[-1])
        call = stub_of(channel).Classify.future(REQUEST, timeout=60)
        assert stub_of(another).Classify(REQUEST, timeout=60).classifications
        assert not call.done()
        streams[0].cancel()
        assert call.result().classifications
        end.set()


def test_metadata_is_taken_up_to_its_limit_and_refused_beyond(worker: ServerProcess) -> None:
    with connect(worker) as channel:
        most = METADATA_BYTES - 1024  # what gRPC itself sends has to fit, too
        for _ in range(20):  # gRPC's soft limit refuses at random
            assert stub_of(channel).Classify(REQUEST, metadata=(("x", "y" * most),), timeout=60)
        with pytest.raises(grpc.RpcError) as error:
            stub_of(channel).Classify(REQUEST, metadata=(("x", "y" * METADATA_BYTES),), timeout=60)
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_client_may_give_up_all_its_calls_at_once(worker: ServerProcess) -> None:
    streams = range(1, 2 * MAX_STREAMS, 2)
    with connected(worker.address) as connection:
        connection.send(*(grpc_request(CLASSIFY, stream) for stream in streams))
        connection.send(*(frame(RST_STREAM, bytes([0, 0, 0, CANCEL]), stream=stream) for stream in streams))
        assert GOAWAY not in {received.kind for received in connection.ping()}


def test_a_client_that_pings_without_end_is_cut_off(worker: ServerProcess) -> None:
    host, port = worker.address.split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(PREFACE + frame(SETTINGS) + 50 * frame(PING, bytes(8)))
        said = b"".join(iter(lambda: connection.recv(4096), b""))
    assert said.endswith(b"too_many_pings")


def test_a_connection_past_its_age_is_replaced_and_its_stream_goes_on(tiny_models: Path) -> None:
    replaced, go_on = threading.Event(), threading.Event()

    def requests() -> Iterator[pb2.ClassifyRequest]:
        yield REQUEST
        assert go_on.wait(60)
        yield REQUEST

    with serving(tiny_models, "--max-connection-age", "1") as server, connect(server) as channel:
        responses = stub_of(channel).ClassifyStream(requests())
        next(responses)
        channel.subscribe(lambda state: replaced.set() if state is grpc.ChannelConnectivity.IDLE else None)
        assert replaced.wait(60)
        assert stub_of(channel).Classify(REQUEST, timeout=60).classifications
        go_on.set()
        assert len(list(responses)) == 1


def test_a_stream_without_end_does_not_keep_other_calls_from_being_answered(worker: ServerProcess) -> None:
    answered = threading.Event()

    def requests() -> Iterator[pb2.ClassifyRequest]:
        while not answered.is_set():
            yield REQUEST

    with connect(worker) as greedy, connect(worker) as channel:
        responses = stub_of(greedy).ClassifyStream(requests())
        reader = threading.Thread(target=lambda: [next(responses, None)] and sum(1 for _ in responses))
        reader.start()
        for _ in range(20):
            assert stub_of(channel).Classify(REQUEST, timeout=60).classifications
        answered.set()
        reader.join()


def test_a_client_that_does_not_read_its_answers_holds_up_its_own_stream_alone(worker: ServerProcess) -> None:
    many, texts = 5_000, 100  # each answer has some 10 kB: more in all than any window between two processes

    def classified() -> float:
        return counted(worker, "text_classifier_texts_total", 'model="topic"') / texts

    with connect(worker) as slow, connect(worker) as channel:
        large = pb2.ClassifyRequest(model="topic", texts=["oil"] * texts, top_k=5)
        before, seen = -1.0, classified()
        start = seen
        responses = stub_of(slow).ClassifyStream(large for _ in range(many))
        next(responses)
        while seen > before:  # the event loop answers others meanwhile, and the stream goes no further
            for _ in range(100):
                stub_of(channel).Classify(pb2.ClassifyRequest(model="sentiment", texts=["film"]), timeout=60)
            before, seen = seen, classified()
        assert seen - start < many
        assert sum(1 for _ in responses) == many - 1


@pytest.mark.skipif(not importlib.util.find_spec("service.grpc._native_server"), reason="grpcio bounds no answers")
@pytest.mark.parametrize("texts", [300, 1], ids=["10 KiB", "small"])
def test_answers_that_nobody_reads_take_bounded_memory(worker: ServerProcess, texts: int) -> None:
    message = pb2.ClassifyRequest(model="topic", texts=[""] * texts).SerializeToString()
    message = b"\0" + len(message).to_bytes(4, "big") + message
    requests = [
        grpc_request(CLASSIFY, stream) + frame(DATA, message, END_STREAM, stream)
        for stream in range(1, 2 * MAX_STREAMS, 2)
    ]
    no_window = frame(SETTINGS, INITIAL_WINDOW_SIZE.to_bytes(2, "big") + bytes(4))
    with growth(worker) as measured, ExitStack() as stack:
        for _ in range(200):
            connection = stack.enter_context(connected(worker.address))
            connection.send(no_window, *requests)
            connection.ping()
        with connect(worker) as channel:
            assert stub_of(channel).Classify(REQUEST, timeout=60).classifications
    assert measured.peak < 100


@pytest.mark.skipif(not importlib.util.find_spec("service.grpc._native_server"), reason="grpcio bounds no answers")
def test_a_client_that_reads_no_answers_leaves_room_for_those_of_others(tiny_models: Path) -> None:
    texts = 10_000
    message = pb2.ClassifyRequest(model="topic", texts=[""] * texts, top_k=5).SerializeToString()  # answer: 1 MB
    message = b"\0" + len(message).to_bytes(4, "big") + message
    no_window = frame(SETTINGS, INITIAL_WINDOW_SIZE.to_bytes(2, "big") + bytes(4))

    def request(stream: int) -> bytes:
        parts = [message[at : at + FRAME_BYTES] for at in range(0, len(message), FRAME_BYTES)]
        body = [frame(DATA, part, END_STREAM if part is parts[-1] else 0, stream) for part in parts]
        return grpc_request(CLASSIFY, stream) + b"".join(body)

    def is_refused(connection: Connection, *sent: bytes) -> bool:
        connection.send(*sent)
        while (received := connection.receive()).kind != HEADERS:
            pass
        return bool(received.flags & END_STREAM)

    with serving(tiny_models, *NATIVE, "--max-texts", str(texts)) as server, ExitStack() as stack:
        greedy, other = (stack.enter_context(connected(server.address)) for _ in range(2))
        greedy.send(no_window)
        assert any(is_refused(greedy, request(stream)) for stream in range(1, 2 * MAX_STREAMS, 2))
        assert not is_refused(other, no_window, request(1))


@pytest.mark.skipif(not importlib.util.find_spec("service.grpc._native_server"), reason="grpcio bounds no connections")
def test_the_longest_idle_connection_makes_room_for_a_new_one(tiny_models: Path) -> None:
    few_descriptors = ("prlimit", "--nofile=256:256")
    with serving(tiny_models, *NATIVE, run_by=few_descriptors) as server, ExitStack() as stack:
        calling = stack.enter_context(connected(server.address))
        calling.send(grpc_request(CLASSIFY, 1))
        calling.ping()
        idle = []
        for _ in range(300):
            idle.append(stack.enter_context(connected(server.address)))
            idle[-1].ping()
        frames = iter(idle[0].receive, None)
        assert next(received for received in frames if received.kind == GOAWAY).payload[4:8] == bytes(4)  # NO_ERROR
        assert GOAWAY not in {received.kind for received in calling.ping()}


def refused_by_its_beginning(server: ServerProcess) -> None:
    """Sends the beginning of a request of 1 MiB, byte after byte, and again until one is refused: between two requests
    of others it finds a place in the queue.
    """
    message = pb2.ClassifyRequest(model="topic", texts=["x" * (1 << 20)]).SerializeToString()
    for _ in range(1000):
        with connected(server.address) as connection:
            connection.send(grpc_request(CLASSIFY, 1), frame(DATA, b"\0" + len(message).to_bytes(4, "big"), stream=1))
            for number in range(50):
                connection.send(frame(DATA, message[number : number + 1], stream=1))
                if (HEADERS, END_HEADERS | END_STREAM, 1) in {received[:3] for received in connection.ping()}:
                    return
    raise AssertionError("no request was refused")


@pytest.mark.parametrize("reason", ["deadline", "cancelled"])
def test_requests_that_nobody_waits_for_any_longer_are_counted(worker: ServerProcess, reason: str) -> None:
    large = pb2.ClassifyRequest(model="topic", texts=["a moving film " * 70] * 1024)  # too large to answer inline

    def dropped() -> float:
        return counted(worker, "text_classifier_dropped_requests_total", 'model="topic"', f'reason="{reason}"')

    before = dropped()
    with ExitStack() as stack:
        stubs = [stub_of(stack.enter_context(connect(worker))) for _ in range(8)]
        for _ in range(200):  # until it is seen
            calls = [stub.Classify.future(large, timeout=0.02 if reason == "deadline" else 60) for stub in stubs]
            calls[0].exception()  # has ended; the others wait for their turn, or their bytes are still arriving
            for call in calls:
                call.cancel()
            if dropped() > before:
                break
    assert dropped() > before


@pytest.mark.parametrize("engine", ["tensorflow", "compiled"])
def test_a_model_is_answered_while_another_s_queue_is_full(tiny_models: Path, engine: str) -> None:
    large = pb2.ClassifyRequest(model="topic", texts=["a moving film " * 70] * 1024)  # too large to answer inline
    full, answered, refusals = threading.Semaphore(0), threading.Event(), []

    def flood(channel: grpc.Channel) -> None:
        while not answered.is_set():
            try:
                stub_of(channel).Classify(large, timeout=60)
            except grpc.RpcError as error:
                refusals.append(error.code())
                full.release()

    with ExitStack() as stack:
        server = stack.enter_context(
            serving(tiny_models, "--workers", "1", "--engine", engine, "--max-queue-texts", "1")
        )
        floods = [threading.Thread(target=flood, args=(stack.enter_context(connect(server)),)) for _ in range(8)]
        for thread in floods:
            thread.start()
        assert full.acquire(timeout=60)
        if engine == "compiled" and server.event("started")["transport"] == "native":
            refused_by_its_beginning(server)  # before its body has come
            refusals.append(grpc.StatusCode.RESOURCE_EXHAUSTED)
        other = stub_of(stack.enter_context(connect(server)))
        for _ in range(3):
            assert other.Classify(pb2.ClassifyRequest(model="sentiment", texts=["film"]), timeout=60).classifications
            while full.acquire(blocking=False):
                pass
            assert full.acquire(timeout=60)  # it still is
        answered.set()
        for thread in floods:
            thread.join()
        assert set(refusals) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        dropped = "text_classifier_dropped_requests_total"
        assert counted(server, dropped, 'model="topic"', 'reason="overload"') == len(refusals)
        assert counted(server, dropped, 'model="sentiment"') == 0
