"""The service under load from h2load: requests and texts per second, latency, CPU time per text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks import h2load
from benchmarks.server import Server
from benchmarks.texts import batches
from service.grpc.stubs import open_inference_pb2 as oip_pb2
from text_classifier.calls import SERVICE
from text_classifier.v1 import text_classifier_pb2 as pb2

MODEL = "imdb"
BODIES = 16
"""Number of different request bodies in flight at the same time."""


@dataclass(frozen=True)
class Case:
    """A load: texts per message, messages per call, calls in flight, total calls."""

    name: str
    texts: int
    messages: int
    in_flight: int
    requests: int


CASES = (
    Case("unary, 1 text", 1, 1, 1, 3_000),
    Case("unary, 1 text", 1, 1, 8, 16_000),
    Case("unary, 1 text", 1, 1, 64, 40_000),
    Case("unary, 64 texts", 64, 1, 1, 300),
    Case("unary, 64 texts", 64, 1, 8, 4_800),
    Case("unary, 64 texts", 64, 1, 64, 4_800),
    Case("stream, 1 text a message", 1, 500, 1, 16),
    Case("stream, 1 text a message", 1, 500, 16, 160),
)


@dataclass(frozen=True)
class Figures:
    """The result of a case."""

    case: str
    in_flight: int
    requests_per_second: float
    texts_per_second: float
    p50_ms: float
    p99_ms: float
    server_cpu_us_per_text: float
    load_cpu_us_per_text: float


@dataclass(frozen=True)
class Protocol:
    """A protocol: a unary method, and a function from texts to the serialized request."""

    method: str
    request: Callable[[Sequence[str]], bytes]


def _classify_request(texts: Sequence[str]) -> bytes:
    return pb2.ClassifyRequest(model=MODEL, texts=texts).SerializeToString()


def _infer_request(texts: Sequence[str], *, raw: bool) -> bytes:
    request = oip_pb2.ModelInferRequest(model_name=MODEL)
    tensor = request.inputs.add(name="text", datatype="BYTES", shape=[len(texts), 1])
    values = [text.encode() for text in texts]
    if raw:
        request.raw_input_contents.append(b"".join(len(value).to_bytes(4, "little") + value for value in values))
    else:
        tensor.contents.bytes_contents.extend(values)
    return request.SerializeToString()


_MODEL_INFER = "inference.GRPCInferenceService/ModelInfer"
CLASSIFY = Protocol(f"{SERVICE}/Classify", _classify_request)
MODEL_INFER = Protocol(_MODEL_INFER, partial(_infer_request, raw=False))
RAW_MODEL_INFER = Protocol(_MODEL_INFER, partial(_infer_request, raw=True))
GET_MODEL = Protocol(f"{SERVICE}/GetModel", lambda _: pb2.GetModelRequest(name=MODEL).SerializeToString())
"""A method whose handler is in Python with each transport. It takes no texts."""


def bodies(texts: Sequence[str], case: Case, protocol: Protocol) -> list[bytes]:
    """Returns `BODIES` different request bodies for the case."""
    messages = [protocol.request(batch) for batch in batches(list(texts), case.texts)]
    return [
        h2load.frame([messages[(start + offset) % len(messages)] for offset in range(case.messages)])
        for start in range(0, BODIES * case.messages, case.messages)
    ]


def measure(server: Server, texts: Sequence[str], case: Case, protocol: Protocol = CLASSIFY) -> Figures:
    """Runs a case against a server of the model imdb.

    Raises:
        RuntimeError: an answer was not OK.
    """
    method = protocol.method + ("Stream" if case.messages > 1 else "")
    all_bodies = bodies(texts, case, protocol)
    if case.in_flight < BODIES:
        # Fewer calls in flight than bodies: one run for each body.
        groups = [all_bodies[start : start + case.in_flight] for start in range(0, BODIES, case.in_flight)]
    else:
        groups = [all_bodies]
    name = method.rpartition("/")[2]
    before = server.answered(name) if server.metrics_url else 0
    cpu = server.cpu_seconds()
    loads = [
        h2load.run(
            server.address,
            method,
            group,
            requests=case.requests // len(groups),
            connections=max(1, case.in_flight // len(group)),
        )
        for group in groups
    ]
    cpu = server.cpu_seconds() - cpu
    requests = sum(load.requests for load in loads)
    if server.metrics_url and server.answered(name) - before != requests:
        raise RuntimeError(f"{case.name}: of {requests} answers not all were OK")
    texts_sent = requests * case.texts * case.messages
    seconds = sum(load.seconds for load in loads)
    latencies = sorted(latency for load in loads for latency in load.latencies_ms)
    return Figures(
        case.name,
        case.in_flight,
        requests / seconds,
        texts_sent / seconds,
        latencies[len(latencies) // 2],
        latencies[min(len(latencies) - 1, len(latencies) * 99 // 100)],
        cpu / texts_sent * 1e6,
        sum(load.cpu_seconds for load in loads) / texts_sent * 1e6,
    )
