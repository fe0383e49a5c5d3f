"""A stub that calls the real server, and models of which one has a shadow."""

import shutil
from collections.abc import Iterator
from pathlib import Path

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


@pytest.fixture(scope="module")
def shadow_models(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`sentiment` with version 1 in service and version 2 as its shadow."""
    from tests.tiny_model import write_model  # noqa: PLC0415, imports TensorFlow

    models = tmp_path_factory.mktemp("shadow") / "models"
    shutil.copytree(tiny_models / "sentiment", models / "sentiment")
    write_model(models, "sentiment", seed=3)
    (models / "sentiment" / "shadow").write_text("2\n")
    return models
