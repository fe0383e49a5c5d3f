"""Attacks a server of one worker, one attack at a time, and measures the cost to the server and to another client.

Each attack has a process of its own and a new server. Meanwhile another client classifies one review after another. The
table shows how far the worker's memory rises above its idle memory, at its peak and afterwards, and how long the other
client waits for an answer. Run it on an idle machine: attacker, server and client share its CPUs.
"""

import argparse
import asyncio
import gzip
import re
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import grpc.aio
import numpy as np
from grpc_health.v1 import health_pb2

from benchmarks.raw_http2 import Connection
from benchmarks.server import Server, serving
from service.grpc.stubs import open_inference_pb2 as oip_pb2
from text_classifier import Client
from text_classifier.v1 import text_classifier_pb2 as pb2

MODEL, REVIEW, TOKEN = "imdb", "A moving, beautifully shot film. " * 40, "a-token"  # nosec B105, of a server here
CLASSIFY = "/text_classifier.v1.TextClassifier/Classify"
STREAM = "/text_classifier.v1.TextClassifier/ClassifyStream"
INFER = "/inference.GRPCInferenceService/ModelInfer"
WATCH = "/grpc.health.v1.Health/Watch"
MIB = 1 << 20
CALM_CALLS = 500
"""Number of calls of the other client before the attack begins."""
MAX_GROWTH_MIB, MAX_P99_MS = 100.0, 100.0
"""The goal of each attack."""

AUTHORIZED = (("authorization", f"Bearer {TOKEN}"),)
_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1))
_LARGE = pb2.ClassifyRequest(model=MODEL, texts=["x" * (15 * MIB)]).SerializeToString()
_MANY = b"\x1a\0" * (15 * MIB // 2)
_HEAD = f"POST /v1/models/{MODEL}:classify HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
_PARAMETERS = b"\x22\0" * (15 * MIB // 2)
_RAW = oip_pb2.ModelInferRequest(model_name=MODEL, raw_input_contents=[bytes(15 * MIB)]).SerializeToString()
_FULL = pb2.ClassifyRequest(model=MODEL, texts=[" " * MIB] * 15).SerializeToString()


class Target(NamedTuple):
    """The addresses of the server."""

    grpc: str
    http_port: int


async def calls(
    target: Target,
    message: bytes,
    count: int,
    at_once: int,
    *,
    path: str = CLASSIFY,
    compressed: bool = False,
    metadata: Any = AUTHORIZED,
) -> Counter[str]:
    """Calls a method, each of `at_once` clients over a connection of its own, and counts the codes."""
    codes: Counter[str] = Counter()
    compression = grpc.Compression.Gzip if compressed else grpc.Compression.NoCompression

    async def client() -> None:
        async with grpc.aio.insecure_channel(target.grpc, _OPTIONS) as channel:
            method: Any = channel.unary_unary(path)
            for _ in range(count // at_once):
                try:
                    await method(message, metadata=metadata, compression=compression, timeout=60)
                    codes["OK"] += 1
                except grpc.aio.AioRpcError as error:
                    codes[error.code().name] += 1

    await asyncio.gather(*(client() for _ in range(at_once)))
    return codes


async def refused(target: Target) -> Counter[str]:
    """100 calls of 15 MiB, each refused"""
    return await calls(target, _LARGE, 100, 1)


async def uncompressed_at_once(target: Target) -> Counter[str]:
    """96 calls of 15 MiB, 16 at a time"""
    return await calls(target, _LARGE, 96, 16)


async def compressed_elements(target: Target) -> Counter[str]:
    """120 gzip calls of 8 million empty texts, 12 at a time"""
    return await calls(target, _MANY, 120, 12, compressed=True)


async def inference_parameters(target: Target) -> Counter[str]:
    """60 gzip calls of ModelInfer with 8 million parameters, 12 at a time"""
    return await calls(target, _PARAMETERS, 60, 12, path=INFER, compressed=True)


async def inference_contents(target: Target) -> Counter[str]:
    """60 calls of ModelInfer with raw contents of 15 MiB of empty texts, 4 at a time"""
    return await calls(target, _RAW, 60, 4, path=INFER)


async def unfinished_messages(target: Target) -> Counter[str]:
    """200 messages of 15 MiB whose last byte does not come, over 8 connections"""
    opened = [await Connection.open(target.grpc) for _ in range(8)]
    message = b"\0" + len(_LARGE).to_bytes(4, "big") + _LARGE[:-1]
    return await _sent(opened, CLASSIFY, message, 25)


async def unread_streams(target: Target) -> Counter[str]:
    """800 streams of 300 requests each, over 8 connections, whose responses nobody takes"""
    opened = [await Connection.open(target.grpc, window=0) for _ in range(8)]
    request = pb2.ClassifyRequest(model=MODEL, texts=["film"] * 20, top_k=2).SerializeToString()
    return await _sent(opened, STREAM, (b"\0" + len(request).to_bytes(4, "big") + request) * 300, 100)


async def _sent(opened: Sequence[Connection], path: str, data: bytes, streams: int) -> Counter[str]:
    """Sends the data on this number of streams of each connection. Counts what the server accepts within 10 s."""
    outcomes: Counter[str] = Counter()

    async def send(connection: Connection) -> None:
        stream = connection.begin(path, AUTHORIZED)
        try:
            async with asyncio.timeout(10):
                await connection.send(stream, data)
            outcomes["taken"] += 1
        except TimeoutError:
            outcomes["not taken"] += 1
        except ConnectionError:
            outcomes["cut off"] += 1

    await asyncio.gather(*(send(connection) for connection in opened for _ in range(streams)))
    for connection in opened:
        connection.close()
    return outcomes


async def without_token(target: Target) -> Counter[str]:
    """500 gzip calls of 15 MiB without a token, 50 at a time"""
    return await calls(target, _FULL, 500, 50, compressed=True, metadata=())


async def metadata(target: Target) -> Counter[str]:
    """2,000 calls with 1,000 metadata keys"""
    many = tuple((f"key-{number}", "value") for number in range(1000))
    return await calls(target, b"", 2000, 4, metadata=(*AUTHORIZED, *many))


async def watchers(target: Target) -> Counter[str]:
    """10,000 calls of Health.Watch without a token"""
    codes: Counter[str] = Counter()
    request = health_pb2.HealthCheckRequest().SerializeToString()
    channels = [grpc.aio.insecure_channel(target.grpc, _OPTIONS) for _ in range(100)]

    async def watch(channel: Any) -> None:
        method: Any = channel.unary_stream(WATCH)
        pending = method(request)
        try:
            if await pending.read() is not grpc.aio.EOF:
                codes["watching"] += 1
                await asyncio.wait_for(pending.read(), 10)
        except TimeoutError:
            pending.cancel()
        except grpc.aio.AioRpcError as error:
            codes[error.code().name] += 1

    await asyncio.gather(*(watch(channel) for channel in channels for _ in range(100)))
    for channel in channels:
        await channel.close()
    return codes


async def connections(target: Target, count: int, sent: bytes) -> Counter[str]:
    """Opens HTTP connections that send only these bytes, then asks for health as a probe does."""
    opened = []
    for _ in range(count):
        opened.append(await asyncio.open_connection("127.0.0.1", target.http_port))
        opened[-1][1].write(sent)
    outcomes: Counter[str] = Counter()
    for _ in range(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", target.http_port)
        writer.write(b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        outcomes[f"probe {(await reader.readline()).decode()[9:12]}"] += 1
        writer.close()
    for _, writer in opened:
        writer.transport.abort()
    return outcomes


async def silent_connections(target: Target) -> Counter[str]:
    """3,000 HTTP connections that send nothing, then probes"""
    return await connections(target, 3000, b"")


async def slow_bodies(target: Target) -> Counter[str]:
    """3,000 HTTP requests whose body does not come, then probes"""
    return await connections(target, 3000, _HEAD + b"Content-Length: 1000000\r\n\r\n" + b" " * 60_000)


async def posts(
    target: Target, contents: Sequence[bytes], count: int, at_once: int, encodings: Sequence[str] = ("",)
) -> Counter[str]:
    """Posts JSON to the route that classifies, each request over a connection of its own, and counts the statuses."""
    outcomes: Counter[str] = Counter()

    async def client() -> None:
        for number in range(count // at_once):
            content, encoding = contents[number % len(contents)], encodings[number % len(encodings)]
            reader, writer = await asyncio.open_connection("127.0.0.1", target.http_port)
            headers = f"Connection: close\r\n{encoding}Content-Length: {len(content)}\r\n\r\n"
            writer.write(_HEAD + headers.encode() + content)
            outcomes[(await reader.readline()).decode()[9:12]] += 1
            writer.transport.abort()

    await asyncio.gather(*(client() for _ in range(at_once)))
    return outcomes


async def json_elements(target: Target) -> Counter[str]:
    """60 JSON bodies of 16 MiB of empty texts, 4 at a time, plain and gzip"""
    plain = b'{"texts":[' + b'"",' * (5 * MIB) + b'""]}'
    return await posts(target, [plain, gzip.compress(plain)], 60, 4, ["", "Content-Encoding: gzip\r\n"])


async def json_texts(target: Target) -> Counter[str]:
    """96 JSON bodies of one text of 15 MiB, 16 at a time"""
    return await posts(target, [b'{"texts":["' + b"x" * (15 * MIB) + b'"]}'], 96, 16)


async def json_escapes(target: Target) -> Counter[str]:
    """60 JSON bodies of 15 MiB of escaped characters in 16 texts, 4 at a time"""
    text = b'"' + b"\\u00e9" * (MIB // 7) + b'"'
    return await posts(target, [b'{"texts":[' + b",".join([text] * 16) + b"]}"], 60, 4)


async def json_nesting(target: Target) -> Counter[str]:
    """60 JSON bodies of 15 MiB of brackets, 4 at a time"""
    return await posts(target, [b'{"texts":' + b"[" * (15 * MIB)], 60, 4)


async def pipelined_requests(target: Target) -> Counter[str]:
    """200 HTTP connections with 2,000 pipelined requests each, whose responses nobody reads, then probes"""
    head = f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    return await connections(target, 200, head * 2000)


async def unread_explanations(target: Target) -> Counter[str]:
    """100 JSON bodies of 64 KiB to explain, 50 at a time, over connections that stay open and are not read"""
    content = b'{"texts":["' + b"a " * (1 << 15) + b'"],"explain":true}'
    opened: list[asyncio.StreamWriter] = []

    async def client() -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", target.http_port, limit=256)
        opened.append(writer)
        writer.write(_HEAD + f"Content-Length: {len(content)}\r\n\r\n".encode() + content)
        return (await reader.readline()).decode()[9:12]

    outcomes = Counter([outcome for _ in range(2) for outcome in await asyncio.gather(*(client() for _ in range(50)))])
    for writer in opened:
        writer.transport.abort()
    return outcomes


async def explained_calls(target: Target) -> Counter[str]:
    """100 calls of 64 KiB to explain, 50 at a time"""
    message = pb2.ClassifyRequest(model=MODEL, texts=["a " * (1 << 15)], explain=True).SerializeToString()
    return await calls(target, message, 100, 50)


ATTACKS: Sequence[Callable[[Target], Coroutine[Any, Any, Counter[str]]]] = (
    refused,
    uncompressed_at_once,
    compressed_elements,
    inference_parameters,
    inference_contents,
    unfinished_messages,
    unread_streams,
    without_token,
    metadata,
    watchers,
    silent_connections,
    slow_bodies,
    json_elements,
    json_texts,
    json_escapes,
    json_nesting,
    pipelined_requests,
    unread_explanations,
    explained_calls,
)


@dataclass(frozen=True)
class Result:
    """The effect of an attack: memory above idle in MiB, and the other client's latency in milliseconds."""

    attack: str
    outcomes: str
    rest: float
    peak: float
    left: float
    calm: Sequence[float]
    meanwhile: Sequence[float]

    def holds(self) -> bool:
        """Tells whether the goal is reached."""
        return self.peak <= MAX_GROWTH_MIB and float(np.percentile(self.meanwhile, 99)) <= MAX_P99_MS


def measure(attack: str, description: str, models: Path, flags: Sequence[str]) -> Result:
    """Starts a server, attacks it, and measures."""
    with tempfile.NamedTemporaryFile("w") as tokens:
        tokens.write(TOKEN)
        tokens.flush()
        with serving(models, "--workers", "1", "--tokens", tokens.name, *flags) as server:
            return _attack(attack, description, server)


def _attack(attack: str, description: str, server: Server) -> Result:
    status = _worker(server)
    with Client(server.address, token=TOKEN, timeout=60) as client:
        calm = [_timed(client) for _ in range(CALM_CALLS)]
        rest = _mib(status, "VmRSS")
        (status.parent / "clear_refs").write_text("5")
        meanwhile: list[float] = []
        stop = threading.Event()

        def go_on() -> None:
            while not stop.is_set():
                meanwhile.append(_timed(client))

        other = threading.Thread(target=go_on)
        other.start()
        command = [sys.executable, "-m", "benchmarks.attack", "--run", attack, server.address, str(server.http_port)]
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        finally:
            stop.set()
            other.join()
    peak, left = _mib(status, "VmHWM") - rest, _mib(status, "VmRSS") - rest
    return Result(description, done.stdout.strip(), rest, peak, left, calm, meanwhile)


def _timed(client: Client) -> float:
    start = perf_counter()
    client.classify([REVIEW], model=MODEL)
    return 1000 * (perf_counter() - start)


def _worker(server: Server) -> Path:
    """Returns the status file of the worker, which is the process of the server with the most memory."""
    statuses = [Path(f"/proc/{pid}/status") for pid in server.processes()]
    return max(statuses, key=lambda status: _mib(status, "VmRSS"))


def _mib(status: Path, name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB", status.read_text(), re.MULTILINE)
    assert found
    return int(found[1]) / 1024


def table(results: Sequence[Result]) -> str:
    """Returns the results as a table in Markdown."""
    lines = [
        "| attack | outcomes | memory over rest, MiB: peak / after | other client, ms: median / 99% (calm) |",
        "| --- | --- | --- | --- |",
    ]
    for each in results:
        median, late = np.percentile(each.meanwhile, [50, 99])
        calm_median, calm_late = np.percentile(each.calm, [50, 99])
        lines.append(
            f"| {each.attack} | {each.outcomes} | {each.peak:.0f} / {each.left:.0f} |"
            f" {median:.1f} / {late:.1f} ({calm_median:.1f} / {calm_late:.1f}){'' if each.holds() else ' **missed**'} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command. Returns 0 if every attack stays within the goal, otherwise 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attack", description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"), help="models folder with imdb in it")
    parser.add_argument("--transport", default="auto", help="the server's --transport (default: %(default)s)")
    parser.add_argument("--only", metavar="NAME", help=f"one attack: {', '.join(each.__name__ for each in ATTACKS)}")
    parser.add_argument("--run", nargs=3, metavar=("NAME", "ADDRESS", "PORT"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    by_name = {each.__name__: each for each in ATTACKS}
    if options.run:
        name, address, port = options.run
        outcomes: Counter[str] = asyncio.run(by_name[name](Target(address, int(port))))
        print(", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common()))
        return 0
    results = []
    for name, attack in by_name.items():
        if options.only in (None, name):
            description = (attack.__doc__ or name).strip()
            results.append(measure(name, description, options.models, ("--transport", options.transport)))
            print(f"{name}: {results[-1].outcomes}", file=sys.stderr)
    print(table(results))
    return 0 if all(each.holds() for each in results) else 1


if __name__ == "__main__":
    sys.exit(main())
