"""The build of the native transport where cargo or its registry is not there: the installation goes on."""

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.server_process import ROOT

HANGS = "import signal; signal.pause()"
BUILD = ROOT / "service" / "grpc" / "native" / "build.py"
RESOLVES_AND_BUILDS = f"""
import sys
from pathlib import Path
manifest = Path(sys.argv[sys.argv.index("--manifest-path") + 1])
if sys.argv[1] == "generate-lockfile":
    packages = [line.split() for line in open({str(BUILD.with_name("packages.txt"))!r})]
    entry = '[[package]]\\nname = "{{}}"\\nversion = "{{}}"\\nsource = ""\\n'
    lock = "".join(entry.format(*package) for package in packages)
    manifest.with_name("Cargo.lock").write_text(lock)
else:
    built = manifest.parents[1] / "target" / "release" / "lib_native_server.so"
    built.parent.mkdir(parents=True)
    built.write_text(" ".join(sys.argv[1:]))
"""


def built_with(cargo: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Builds where the only program is this script in the place of cargo. Returns the library's path."""
    programs = tmp_path / "programs"
    programs.mkdir()
    if cargo is not None:
        (programs / "cargo").write_text(f"#!{sys.executable}\n{cargo}\n")
        (programs / "cargo").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    library = tmp_path / "library.so"
    library.write_bytes(b"an older one")
    module: dict[str, Any] = runpy.run_path(str(BUILD))
    build = module["build_or_say_why_not"]
    build.__globals__.update(BUILD=tmp_path / "build")
    build(library, 0.3 if cargo == HANGS else 60)
    return library


@pytest.mark.parametrize(
    ("cargo", "reason"),
    [
        (None, "cargo is not installed"),
        ("import sys; sys.exit('error: no network')", "cargo generate-lockfile failed: error: no network"),
        (HANGS, "cargo's registry has not answered"),
    ],
    ids=["no cargo", "no registry", "a registry that does not answer"],
)
def test_without_cargo_the_build_says_in_a_line_that_grpcio_carries_grpc(
    cargo: str | None,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert not built_with(cargo, tmp_path, monkeypatch).exists()
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"The native transport is left out, grpcio carries gRPC: {reason}")


def test_the_shared_library_is_built_alone_which_keeps_link_time_optimization(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = built_with(RESOLVES_AND_BUILDS, tmp_path, monkeypatch).read_text()
    assert "--crate-type=cdylib --release" in command
    assert 'lto = "thin"' in (BUILD.parent / "Cargo.toml").read_text()


def test_the_list_of_packages_holds_names_and_versions_alone() -> None:
    lines = (BUILD.parent / "packages.txt").read_text().splitlines()
    assert lines == sorted(lines)
    assert all(len(line.split()) == 2 for line in lines)
