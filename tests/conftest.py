"""Options and fixtures of all tests.

`make test` runs modules in parallel processes (pytest-xdist, `--dist loadscope`): the tests of a module share a process
and its fixtures.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from tests.server_process import ServerProcess, serving

# A busy machine is not a defect.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--data-dir",
        type=Path,
        help="folder with the real data sets: the .npz, the word indices, and the raw texts as .jsonl.gz",
    )
    parser.addoption(
        "--kserve-python",
        type=Path,
        help="interpreter of an environment with kserve, whose pins do not go with this project's",
    )
    parser.addoption(
        "--mlserver-python", type=Path, help="interpreter of an environment with mlserver, for the same reason"
    )
    parser.addoption("--fuzz", type=int, default=100, metavar="N", help="examples of each fuzz test (default: 100)")


LONGEST_NAMED_BYTES = 16
"""Parameters of more bytes are named by their argument, and a number."""


def _given(request: pytest.FixtureRequest, option: str, what: str) -> Path:
    """Returns the path that an option gives. Without it tests that need what is there are skipped."""
    path: Path | None = request.config.getoption(option.partition(" ")[0])
    if path is None:
        pytest.skip(f"needs {what}: {option}")
    return path


@pytest.fixture(scope="session")
def data_dir(request: pytest.FixtureRequest) -> Path:
    """The folder with the real data sets. Tests that need them are skipped when none is given."""
    return _given(request, "--data-dir DIR", "the real data sets")


@pytest.fixture(scope="session")
def kserve_python(request: pytest.FixtureRequest) -> Path:
    """The interpreter that has KServe's client. Tests that need it are skipped when none is given."""
    return _given(request, "--kserve-python PYTHON", "an environment with kserve")


@pytest.fixture(scope="session")
def mlserver_python(request: pytest.FixtureRequest) -> Path:
    """The interpreter that has MLServer's client. Tests that need it are skipped when none is given."""
    return _given(request, "--mlserver-python PYTHON", "an environment with mlserver")


LONG = (
    "tests/bulk/test_bulk.py",
    "tests/training/test_cli.py",
    "tests/training/test_train.py",
    "tests/training/test_shipped_models.py",
    "tests/docs/test_loop.py",
    "tests/training/classifiers/test_dense.py",
    "tests/training/classifiers/test_soft_targets.py",
)
"""Modules that take longest: they start first, so that no worker is left with one at the end."""


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Keeps the content of files out of the names of tests: a gzip file has the time in it, and all workers have to
    find the same names.
    """
    return argname if isinstance(val, bytes) and len(val) > LONGEST_NAMED_BYTES else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests of the long modules first. Within a module the order stays."""
    places = {module: place for place, module in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(LONG)))


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder with two small models: `sentiment` of 2 classes and `topic` of 5. All workers share it: read only."""
    base = tmp_path_factory.getbasetemp()
    models = (base if worker_id == "master" else base.parent) / "tiny-models"
    with FileLock(f"{models}.lock"):
        if not models.exists():
            from tests.tiny_model import write_model  # noqa: PLC0415, imports TensorFlow: in one worker is enough

            write_model(models, "sentiment")
            write_model(models, "topic", labels=("grain", "crude", "gold", "ship", "tin"), hidden=(8, 8), seed=1)
    return models


@pytest.fixture(scope="session")
def server(tiny_models: Path) -> Iterator[ServerProcess]:
    """A running server of the small models, with low limits. Shared: leave it running."""
    with serving(tiny_models, "--max-texts", "100", "--max-text-bytes", "1000") as running:
        yield running
