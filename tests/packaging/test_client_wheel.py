"""The distribution for client programs, installed into an environment of its own."""

import importlib.metadata
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server_process import ROOT, ServerProcess

DEPENDENCIES = ("grpcio", "protobuf", "typing_extensions")
"""The packages that pip installs with text-classifier-client: copied from this environment, so without a network."""

CALL = """
from text_classifier import Client
with Client({address!r}) as client:
    print(*(answer.label for answer in client.classify(["a film", "oil"], model="topic")))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The virtual environment: nothing but the wheel and its dependencies."""
    folder = tmp_path_factory.mktemp("client")
    source = folder / "source"
    shutil.copytree(ROOT / "packaging" / "client", source)
    shutil.copy(ROOT / "LICENSE", source)
    shutil.copytree(ROOT / "text_classifier", source / "text_classifier")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, source], check=True)
    venv.create(folder / "venv")
    (packages,) = folder.glob("venv/lib/python*/site-packages")
    for name in DEPENDENCIES:
        _copy(name, packages)
    (wheel,) = folder.glob("*.whl")
    python = ["--python", str(folder / "venv" / "bin" / "python")]
    subprocess.run([*pip, *python, "install", "--no-index", wheel], check=True)
    subprocess.run([*pip, *python, "check"], check=True)
    return folder / "venv"


def _copy(distribution: str, packages: Path) -> None:
    for file in importlib.metadata.files(distribution) or ():
        if ".." not in file.parts and "__pycache__" not in file.parts:
            (packages / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(file.locate()), packages / file)


def _top_level(packages: Path) -> Iterator[str]:
    for path in packages.iterdir():
        if path.suffix not in (".dist-info", ".pth") and path.name != "__pycache__":
            yield path.stem


def test_the_client_wheel_adds_one_top_level_package(environment: Path) -> None:
    (packages,) = environment.glob("lib/python*/site-packages")
    others = {"google", "grpc", "typing_extensions"}
    assert set(_top_level(packages)) == {"text_classifier", *others}


def test_a_program_with_the_client_wheel_calls_a_server(environment: Path, server: ServerProcess) -> None:
    program = [str(environment / "bin" / "python"), "-c", CALL.format(address=server.address)]
    printed = subprocess.run(program, cwd=environment, check=True, capture_output=True, text=True).stdout
    assert len(printed.split()) == 2


def test_the_client_wheel_has_the_command(environment: Path, server: ServerProcess) -> None:
    command = [str(environment / "bin" / "text-classifier"), "models", "--address", server.address]
    printed = subprocess.run(command, cwd=environment, check=True, capture_output=True, text=True).stdout
    assert "sentiment" in printed


@pytest.mark.parametrize(
    ("package", "command", "extra", "arguments"),
    [
        ("training", "train", "training", ["--name", "a", "--data", "a.csv"]),
        ("bulk", "bulk", "bulk", ["a.csv", "--model", "a", "--output", "b"]),
        ("service", "server", "server", []),
    ],
)
def test_a_command_without_its_extra_gives_help_and_says_how_to_install_it(
    package: str, command: str, extra: str, arguments: list[str], *, environment: Path, tmp_path: Path
) -> None:
    # The packages of the whole distribution, in an environment that has none of its extras.
    for room in (package, "textmodel", "textfiles", "text_classifier"):
        (tmp_path / room).symlink_to(ROOT / room)
    (tmp_path / "text_classifier-9.dist-info").mkdir()
    (tmp_path / "text_classifier-9.dist-info" / "METADATA").write_text("Name: text-classifier\nVersion: 9\n")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        program = [str(environment / "bin" / "python"), "-m", package, *words]
        return subprocess.run(program, cwd=tmp_path, check=False, capture_output=True, text=True)

    assert run("--help").stdout.startswith(f"usage: text-classifier-{command} ")
    assert run("--version").stdout.split()[-1] == "9"
    assert "unrecognized arguments: --nonsense" in run(*arguments, "--nonsense").stderr
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"text-classifier-{command}: error: ")
    assert f" is not installed: run pip install 'WHEEL[{extra}]', where WHEEL is " in line
