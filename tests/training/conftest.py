from pathlib import Path

import pytest

from tests.training import made_up


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with the files of both made-up data sets."""
    return made_up.write_files(tmp_path / "data")
