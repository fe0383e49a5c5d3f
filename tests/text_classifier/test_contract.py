"""The contract and what is generated from it."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tools import api_reference

ROOT = Path(__file__).parents[2]
PROTO = "text_classifier/v1/text_classifier.proto"


def test_the_committed_stubs_are_what_the_contract_generates(tmp_path: Path) -> None:
    flags = ["--python_out", "--pyi_out", "--grpc_python_out"]
    outputs = [f"{flag}={tmp_path}" for flag in flags]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-Iproto", *outputs, PROTO], cwd=ROOT, check=True)
    generated = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.py*"))
    assert len(generated) == 3
    for path in generated:
        assert (ROOT / path).read_text() == (tmp_path / path).read_text(), f"{path}: run `make proto`"


def test_the_api_reference_is_what_the_contracts_comments_generate() -> None:
    assert api_reference.PAGE.read_text() == api_reference.page(), "run `make docs`"


def test_the_contract_passes_buf_lint() -> None:
    buf = Path(sysconfig.get_path("scripts")) / "buf"
    if not buf.exists():
        pytest.fail("buf is not installed: pip install -e '.[dev]'")
    done = subprocess.run([buf, "lint"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
