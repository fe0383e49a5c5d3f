"""What libraries print while they start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from textmodel.standard_error import stderr_hidden

LOAD = """
import sys
from pathlib import Path
from textmodel import load_engine
print(load_engine(Path(sys.argv[1]), "tensorflow").name)
"""


def test_what_libraries_write_is_hidden_and_what_comes_after_is_not(capfd: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        os.write(2, b"hidden\n")
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"), stderr_hidden():
        fails()
    os.write(2, b"shown\n")
    assert capfd.readouterr().err == "shown\n"


def test_a_closed_standard_error_stays_closed() -> None:
    program = "from textmodel.standard_error import stderr_hidden\nwith stderr_hidden(): print('inside')"
    command = ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, program]
    assert subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout == "inside\n"


def test_loading_in_tensorflow_writes_nothing_to_standard_error(tiny_models: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-c", LOAD, str(tiny_models / "topic" / "1")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert (done.stdout, done.stderr) == ("tensorflow\n", "")
