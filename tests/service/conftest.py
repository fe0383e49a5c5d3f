"""A stub that calls the real server."""

from collections.abc import Iterator

import grpc
import pytest

from tests.server_process import ServerProcess
from text_classifier.v1 import text_classifier_pb2_grpc as pb2_grpc


@pytest.fixture
def channel(server: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as open_channel:
        yield open_channel


@pytest.fixture
def stub(channel: grpc.Channel) -> pb2_grpc.TextClassifierStub:
    return pb2_grpc.TextClassifierStub(channel)
