"""The examples in other languages, against the real server, and against one that fails on purpose.

Go and Java are not here: what their builds need is more than a test may ask of a machine.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.failing_service import FailingService, failing_service
from tests.server_process import ROOT, ServerProcess
from text_classifier import Client
from text_classifier.calls import CHANNEL_OPTIONS

NODE = ROOT / "examples" / "node"
SHELL = ROOT / "examples" / "shell"


@pytest.fixture(
    params=[
        pytest.param(
            ["node", str(NODE / "classify.js")],
            id="node",
            marks=pytest.mark.skipif(
                not (shutil.which("node") and (NODE / "node_modules").exists()),
                reason="needs Node.js and `npm install --prefix examples/node`",
            ),
        ),
        pytest.param(
            [str(SHELL / "classify.sh")],
            id="shell",
            marks=pytest.mark.skipif(
                not (shutil.which("grpcurl") and shutil.which("jq")), reason="needs grpcurl and jq"
            ),
        ),
    ]
)
def command(request: pytest.FixtureRequest) -> list[str]:
    """The command of an example, without its arguments."""
    found: list[str] = request.param
    return found


@pytest.fixture
def failing() -> Iterator[FailingService]:
    yield from failing_service()


def run(command: list[str], *arguments: str, address: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TEXT_CLASSIFIER_ADDRESS": address}
    return subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_the_service_config_of_the_examples_is_that_of_the_python_client() -> None:
    config = (ROOT / "examples" / "service_config.json").read_text()
    assert json.loads(config) == json.loads(str(dict(CHANNEL_OPTIONS)["grpc.service_config"]))


def test_an_example_prints_what_the_python_client_gets(command: list[str], server: ServerProcess) -> None:
    texts = ["a moving film", "Σας, 'oil' and \"gas\"\n😀", "-x"]
    done = run(command, "topic", *texts, address=server.address)
    with Client(server.address) as client:
        expected = client.classify(texts, model="topic")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == [answer.label for answer in expected], done.stderr
    assert [float(row[1]) for row in rows] == pytest.approx([answer.probability for answer in expected], abs=1e-4)


def test_an_example_says_what_is_wrong(command: list[str], server: ServerProcess) -> None:
    done = run(command, "topics", "a moving film", address=server.address)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "models/topics not found: available are sentiment, topic" in done.stderr


def test_an_example_tries_again_and_sets_a_deadline(command: list[str], failing: FailingService) -> None:
    failing.failures = 2
    done = run(command, "topic", "a moving film", address=failing.address)
    assert done.returncode == 0, done.stderr
    assert failing.calls == 3
    assert failing.time_remaining is not None
    assert failing.time_remaining <= 5
