"""Options and fixtures of all tests."""

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--data-dir",
        type=Path,
        help="folder with the real data sets: the .npz, the word indices, and the raw texts as .jsonl.gz",
    )


@pytest.fixture(scope="session")
def data_dir(request: pytest.FixtureRequest) -> Path:
    """The folder with the real data sets. Tests that need them are skipped when none is given."""
    folder: Path | None = request.config.getoption("--data-dir")
    if folder is None:
        pytest.skip("needs the real data sets: --data-dir DIR")
    return folder
