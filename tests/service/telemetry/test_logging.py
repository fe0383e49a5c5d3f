import subprocess
import sys

from tests.server_process import ROOT

LOG = """
import sys, structlog
from service.telemetry import logging
logging.configure(sys.argv[1], "info")
structlog.get_logger().info("read", reason="a\\nforged\\033[31m", names=["b\\nc"], count=1)
"""


def logged(log_format: str) -> str:
    command = [sys.executable, "-c", LOG, log_format]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stderr


def test_a_value_cannot_begin_a_line_of_the_log_or_control_the_terminal() -> None:
    console = logged("console")
    assert console.count("\n") == 1
    assert "a\\nforged\\x1b[31m" in console
    assert "\033[31m" not in console.replace("\033[31m\033[1m", "")
    assert logged("json").count("\n") == 1
