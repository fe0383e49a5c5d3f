"""Hypothesis drives the server and the readers of a model with what no client or training wrote.

How many inputs were tried is counted and said at the end; `--fuzz N` sets the examples of each test.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from hypothesis import settings

from tests.server_process import ServerProcess, serving
from tests.tiny_model import PROBE_TEXTS
from text_classifier.v1 import text_classifier_pb2 as pb2
from text_classifier.v1 import text_classifier_pb2_grpc as pb2_grpc
from textmodel.loading import load_engine

_TRIED = pytest.StashKey[Counter[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TRIED] = Counter()
    settings.register_profile("fuzz", max_examples=config.getoption("--fuzz"), deadline=None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    tried = config.stash[_TRIED]
    if tried:
        terminalreporter.section("fuzz")
        for what, count in tried.items():
            terminalreporter.line(f"{count:>10,} {what}")
        terminalreporter.line(f"{tried.total():>10,} inputs in all")


@pytest.fixture(scope="session")
def tried(pytestconfig: pytest.Config) -> Counter[str]:
    """Counts the inputs that were tried, by what they are."""
    return pytestconfig.stash[_TRIED]


@pytest.fixture(scope="session")
def server(tiny_models: Path) -> Iterator[ServerProcess]:
    """A server with low limits and one worker: the one that was harmed is the one that is asked afterwards."""
    limits = ("--max-texts", "100", "--max-text-bytes", "1000", "--max-request-bytes", "200000")
    with serving(tiny_models, "--workers", "1", *limits) as running:
        yield running


@pytest.fixture(scope="session")
def survived(server: ServerProcess, tiny_models: Path) -> Callable[[], None]:
    """Checks, on a new connection, that the server answers right, and that nothing has died or failed in its log."""
    engine = load_engine(tiny_models / "sentiment" / "1", "compiled")
    expected = engine.classify(PROBE_TEXTS).probabilities.max(axis=1)
    request = pb2.ClassifyRequest(model="sentiment", texts=PROBE_TEXTS)

    def check() -> None:
        with grpc.insecure_channel(server.address, (("grpc.use_local_subchannel_pool", 1),)) as channel:
            response = pb2_grpc.TextClassifierStub(channel).Classify(request, timeout=60)
        np.testing.assert_array_equal([answer.probability for answer in response.classifications], expected)
        assert not [line for line in server.log if line.get("level") in ("error", "critical")]

    return check
