"""The examples in other languages, built and run against the real server, and against one that fails on purpose."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docs import markdown
from tests.failing_service import FailingService, failing_service
from tests.server_process import ROOT, ServerProcess
from text_classifier import Client
from text_classifier.calls import CHANNEL_OPTIONS

EXAMPLES = ROOT / "examples"
GO_PATH = Path("/usr/share/gocode")
JAVA_PATH = Path("/usr/share/java")
"""Where Debian's packages have libraries."""


def needs(*tools: str | Path) -> None:
    """Skips the test unless these are there: commands and paths."""
    missing = [str(tool) for tool in tools if not shutil.which(tool) and not Path(tool).exists()]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


def build(folder: Path, example: str, last: str, instead: str) -> str:
    """Builds a copy of an example as its block in examples/README.md says, and returns what is printed.

    Args:
        folder: of the copy; the contracts are as far away as in the repository.
        example: its folder in `examples/`.
        last: where the block's commands that build end.
        instead: goes on there.
    """
    shutil.copytree(EXAMPLES / example, folder)
    (folder.parent.parent / "proto").symlink_to(ROOT / "proto")
    fences = [token.content for token in markdown.tokens(EXAMPLES / "README.md") if token.type == "fence"]
    (block,) = [content for content in fences if last in content]
    script = block.partition(last)[0] + instead
    return subprocess.run(["bash", "-euc", script], cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def go(folder: Path) -> list[str]:
    needs("go", "protoc", "protoc-gen-go", "protoc-gen-go-grpc", GO_PATH / "src" / "google.golang.org" / "grpc")
    source = folder / "src" / "classify"
    # The libraries are Debian's, not those that `go mod tidy` fetches: without modules Go finds them in its path.
    build(source, "go", "go mod tidy", f"GO111MODULE=off GOPATH={folder}:{GO_PATH} go build")
    return [str(source / "classify")]


def java(folder: Path) -> list[str]:
    needs("javac", "protoc", "grpc_java_plugin", JAVA_PATH / "grpc-netty.jar")
    source = folder / "examples" / "java"
    libraries = build(source, "java", "java Classify", "echo $CLASSPATH").strip()
    return ["java", "-cp", f"{libraries}:{source}", "Classify"]


def node(folder: Path) -> list[str]:
    needs("node", EXAMPLES / "node" / "node_modules")  # npm install --prefix examples/node
    return ["node", "classify.js"]


def shell(folder: Path) -> list[str]:
    needs("grpcurl", "jq")
    return ["./classify.sh"]


class Example:
    """A program that can be run."""

    def __init__(self, prepare: Callable[[Path], list[str]], folder: Path) -> None:
        self._command = prepare(folder)
        self._folder = EXAMPLES / prepare.__name__

    def run(self, *arguments: str, address: str) -> subprocess.CompletedProcess[str]:
        """Runs it with these arguments, for a server at this address."""
        return subprocess.run(
            [*self._command, *arguments],
            cwd=self._folder,
            env={**os.environ, "TEXT_CLASSIFIER_ADDRESS": address},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


@pytest.fixture(scope="module", params=[go, java, node, shell])
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Example:
    return Example(request.param, tmp_path_factory.mktemp("example"))


@pytest.fixture
def failing() -> Iterator[FailingService]:
    yield from failing_service()


def test_the_service_config_of_the_examples_is_that_of_the_python_client() -> None:
    config = (EXAMPLES / "service_config.json").read_text()
    assert json.loads(config) == json.loads(str(dict(CHANNEL_OPTIONS)["grpc.service_config"]))


def test_an_example_prints_what_the_python_client_gets(example: Example, server: ServerProcess) -> None:
    texts = ["a moving film", "Σας, 'oil' and \"gas\"\n😀", "-x"]
    done = example.run("topic", *texts, address=server.address)
    with Client(server.address, timeout=60) as client:
        expected = client.classify(texts, model="topic")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == [answer.label for answer in expected], done.stderr
    assert [float(row[1]) for row in rows] == pytest.approx([answer.probability for answer in expected], abs=1e-4)


def test_an_example_says_what_is_wrong(example: Example, server: ServerProcess) -> None:
    done = example.run("topics", "a moving film", address=server.address)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "models/topics not found: available are sentiment, topic" in done.stderr


def test_an_example_without_texts_says_how_it_is_used(example: Example) -> None:
    done = example.run("topic", address="127.0.0.1:1")
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")


def test_an_example_tries_again(example: Example, failing: FailingService) -> None:
    failing.failures = 2
    done = example.run("topic", "a moving film", address=failing.address)
    assert done.returncode == 0, done.stderr
    assert failing.calls == 3


def test_an_example_waits_until_its_deadline_of_which_the_server_hears(
    example: Example, failing: FailingService
) -> None:
    failing.proceed.clear()
    done = example.run("topic", "a moving film", address=failing.address)
    assert failing.ended.wait(60)
    assert failing.calls == 1
    assert failing.time_remaining is not None
    assert failing.time_remaining <= 5
    assert done.returncode != 0
    assert done.stdout == ""
    assert "deadlineexceeded" in done.stderr.lower().replace("_", ""), done.stderr
