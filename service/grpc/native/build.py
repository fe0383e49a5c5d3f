"""Builds the native transport with cargo. Without cargo or its registry it says so in one line, and grpcio is used.

`packages.txt` pins the versions of all packages. They become exact requirements in a copy of the manifest, under a
target that never matches, so that the resolver has to use them but builds nothing more.

Usage: python build.py [--resolve]; --resolve rewrites packages.txt with the newest versions.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

CRATE = Path(__file__).parent
ROOT = CRATE.parents[2]
PACKAGES = CRATE / "packages.txt"
LIBRARY = CRATE.parent / "_native_server.abi3.so"
BUILD = ROOT / "build" / "native"

RESOLVE_SECONDS = 9.0
"""Time after which a registry that has not answered counts as unavailable: a first start waits no longer for it."""


class Unavailable(Exception):
    """The transport cannot be built here. The message says why."""


def build(library: Path, seconds: float) -> None:
    """Builds the transport into a file, if the registry answers within so many seconds.

    Raises:
        Unavailable: cargo or its registry is not there, or the crate does not compile.
    """
    if not shutil.which("cargo"):
        raise Unavailable("cargo is not installed")
    print("Building the native transport with cargo; the first time takes a minute or two.", flush=True)
    manifest = _copy(_pins(_listed()))
    _resolve(manifest, seconds)
    resolved = _resolved(manifest)
    if resolved != _listed():
        difference = ", ".join(sorted(set(resolved) ^ set(_listed())))
        raise Unavailable(f"packages.txt does not fit Cargo.toml ({difference}): run {Path(__file__).name} --resolve")
    # The crate is an rlib too, for the fuzzers. If cargo built both, it would leave out link-time optimization.
    library_alone = ("--lib", "--crate-type=cdylib", "--release", "--locked", "--features=extension-module")
    _cargo("rustc", *library_alone, manifest=manifest)
    library.parent.mkdir(parents=True, exist_ok=True)
    new = library.with_suffix(".new")  # a running server keeps the file that it has mapped
    shutil.copyfile(BUILD / "target" / "release" / "lib_native_server.so", new)
    new.replace(library)


def resolve() -> None:
    """Writes the list of packages, with the newest versions that Cargo.toml allows.

    Raises:
        Unavailable: cargo or its registry is not there.
    """
    manifest = _copy("")
    _cargo("generate-lockfile", manifest=manifest)
    PACKAGES.write_text("".join(f"{package}\n" for package in _resolved(manifest)))


def _listed() -> list[str]:
    return PACKAGES.read_text().splitlines()


def _pins(packages: list[str]) -> str:
    """Returns exact requirements of these packages, each `name version`, without those that Cargo.toml pins."""
    manifest = tomllib.loads((CRATE / "Cargo.toml").read_text())
    direct = {**manifest["dependencies"], **manifest["dev-dependencies"]}
    lines = ["", "[target.'cfg(any())'.dependencies]"]
    for number, package in enumerate(packages):
        name, version = package.split()
        if name not in direct:
            exact = f"={version.partition('+')[0]}"  # what follows is no part of a requirement
            lines.append(f'pin-{number} = {{ package = "{name}", version = "{exact}", default-features = false }}')
    return "\n".join(lines) + "\n"


def _copy(pins: str) -> Path:
    """Copies the crate to its build folder, and returns the manifest."""
    crate = BUILD / "crate"
    shutil.rmtree(crate, ignore_errors=True)
    shutil.copytree(CRATE, crate, ignore=shutil.ignore_patterns("target", "Cargo.lock", "*.py", "__pycache__"))
    manifest = crate / "Cargo.toml"
    manifest.write_text((CRATE / "Cargo.toml").read_text() + pins)
    return manifest


def _resolve(manifest: Path, seconds: float) -> None:
    """Writes Cargo.lock; without the network if all packages are cached."""
    try:
        _cargo("generate-lockfile", "--offline", "--quiet", manifest=manifest, seconds=seconds / 3, shown=False)
    except Unavailable:
        _cargo("generate-lockfile", "--quiet", manifest=manifest, seconds=seconds * 2 / 3, shown=False)


def _resolved(manifest: Path) -> list[str]:
    """Returns the packages of Cargo.lock beside the crate itself, as lines of the list."""
    lock = tomllib.loads(manifest.with_name("Cargo.lock").read_text())
    return sorted(f"{package['name']} {package['version']}" for package in lock["package"] if "source" in package)


def _cargo(command: str, *options: str, manifest: Path, seconds: float | None = None, shown: bool = True) -> None:
    environment = {**os.environ, "CARGO_TARGET_DIR": str(BUILD / "target")}
    if seconds:
        environment |= {"CARGO_NET_RETRY": "0"}
    line = ["cargo", command, "--manifest-path", str(manifest), *options]
    try:
        subprocess.run(line, env=environment, timeout=seconds, check=True, stderr=None if shown else subprocess.PIPE)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"cargo's registry has not answered in {seconds:g} s") from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr or b"").decode(errors="replace").strip().splitlines()
        raise Unavailable(f"cargo {command} failed: {said[0] if said else 'see above'}") from error


def build_or_say_why_not(library: Path = LIBRARY, seconds: float = RESOLVE_SECONDS) -> None:
    """Builds the transport, or says in one line why it is left out."""
    try:
        build(library, seconds)
    except Unavailable as error:
        library.unlink(missing_ok=True)
        print(f"The native transport is left out, grpcio carries gRPC: {error}.")


if __name__ == "__main__":
    resolve() if sys.argv[1:] == ["--resolve"] else build_or_say_why_not()
