"""A real server with the small models, and a stub that calls it."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.server_process import ServerProcess, serving
from text_classifier.v1 import text_classifier_pb2_grpc as pb2_grpc


@pytest.fixture(scope="module")
def server(tiny_models: Path) -> Iterator[ServerProcess]:
    with serving(tiny_models, "--max-texts", "100", "--max-text-bytes", "1000") as running:
        yield running


@pytest.fixture
def channel(server: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as open_channel:
        yield open_channel


@pytest.fixture
def stub(channel: grpc.Channel) -> pb2_grpc.TextClassifierStub:
    return pb2_grpc.TextClassifierStub(channel)
