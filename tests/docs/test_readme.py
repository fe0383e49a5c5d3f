"""The commands and programs of the README and of the guide to serving, run as they stand there."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.docs import markdown
from tests.server_process import ROOT, ServerProcess, serving
from training import cli

README = ROOT / "README.md"
ADDRESS = "127.0.0.1:50051"
HTTP_ADDRESS = "127.0.0.1:8080"

BLOCKS = [
    (file.stem, block.content, block.info, before.content if before.type == "html_block" else "")
    for file in (README, ROOT / "docs" / "serving.md")
    for before, block in pairwise(markdown.tokens(file))
    if block.type == "fence" and block.info
]
"""Page, content and language of the code blocks, and the comment that says how one that cannot run here is tested."""


@pytest.fixture(scope="module")
def checkout(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page's folder, like the user's after `make serve`: the commands, the models, and the user's own files.

    Each page has its own, because the guide to serving deploys other versions of the models.
    """
    folder = tmp_path_factory.mktemp(request.param)
    shutil.copytree(ROOT / "models", folder / "models")
    (folder / "reviews.txt").write_text("A moving film.\nDull.\n")
    tickets = [f"bill,pay invoice {number}\nbug,error {number} again\n" for number in range(20)]
    (folder / "tickets.csv").write_text("".join(["queue,body\n", *tickets]))
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, place in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"].items():
        module, function = place.split(":")
        program = f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
        (programs / name).write_text(program)
        (programs / name).chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def shipped(checkout: Path) -> Iterator[ServerProcess]:
    """A server of the models in that folder."""
    with serving(checkout / "models", "--workers", "1") as running:
        yield running


def run(content: str, language: str, folder: Path, server: ServerProcess) -> str:
    """Runs a program in the folder, with other addresses than it names, and returns what it prints."""
    interpreter = [sys.executable, "-c"] if language == "python" else ["bash", "-euo", "pipefail", "-c"]
    done = subprocess.run(
        [*interpreter, content.replace(ADDRESS, server.address).replace(HTTP_ADDRESS, server.http)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TEXT_CLASSIFIER_ADDRESS": server.address},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("checkout", "content", "language"),
    [(page, content, language) for page, content, language, comment in BLOCKS if not comment and language != "console"],
    indirect=["checkout"],
)
def test_a_block_runs(content: str, language: str, checkout: Path, shipped: ServerProcess) -> None:
    if content.startswith("grpcurl") and not shutil.which("grpcurl"):
        pytest.skip("needs grpcurl")
    run(content, language, checkout, shipped)


@pytest.mark.parametrize(
    ("checkout", "content"),
    [(page, content) for page, content, language, _ in BLOCKS if language == "console"],
    indirect=["checkout"],
)
def test_a_console_shows_what_its_commands_print(content: str, checkout: Path, shipped: ServerProcess) -> None:
    for command, shown in re.findall(r"^\$ (.*\n)((?:[^$].*\n)*)", content, re.MULTILINE):
        printed = run(command, "sh", checkout, shipped)
        assert printed
        assert shown in ("", printed)


def test_the_readme_links_every_guide() -> None:
    linked = set(re.findall(r"\((docs/\w+\.md)", README.read_text()))
    assert linked == {f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md")}


def test_the_readme_stays_short() -> None:
    assert len(README.read_text().split()) <= 900


def test_the_long_training_commands_have_options_that_exist() -> None:
    (content,) = [content for _, content, _, comment in BLOCKS if "its options are parsed" in comment]
    commands = re.findall(r"^\S*text-classifier-train (.*?)(?:#.*)?$", content, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        cli.parsed(command.split())


@pytest.mark.skipif(not (ROOT / ".venv" / ".server").exists(), reason="needs what the first `make serve` sets up")
def test_make_serve_serves() -> None:
    environment = {**os.environ, "TEXT_CLASSIFIER_PORT": "0", "TEXT_CLASSIFIER_METRICS_PORT": "0"}
    environment["TEXT_CLASSIFIER_HTTP_PORT"] = "0"
    with subprocess.Popen(
        ["make", "serve"], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr
        served = False
        for line in process.stderr:  # until the last of its processes has ended
            if '"event": "serving"' in line:
                served = True
                os.killpg(process.pid, signal.SIGTERM)
    assert served
