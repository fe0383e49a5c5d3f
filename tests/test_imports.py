"""The imports between modules: one way between packages, and without a circle."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.server_process import ROOT

ALLOWED = {
    "textfiles": set(),
    "textmodel": set(),
    "text_classifier": set(),
    "service": {"textmodel", "text_classifier"},
    "bulk": {"textfiles", "textmodel"},
    "training": {"textfiles", "textmodel"},
}
"""The packages that a package may import."""
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ALLOWED
    for path in (ROOT / package).rglob("*.py")
    if "native" not in path.parts and "_pb2" not in path.name
}


def imports(path: Path) -> Iterator[str]:
    """Yields the modules of this project that a module imports, in functions and for types too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in inside]
        else:
            continue
        yield from (name for name in names if name.partition(".")[0] in ALLOWED)


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_the_packages_below_it(package: str) -> None:
    modules = [path for name, path in MODULES.items() if name.partition(".")[0] == package]
    imported = {name.partition(".")[0] for path in modules for name in imports(path)}
    assert imported - {package} <= ALLOWED[package]


def test_no_modules_import_each_other_in_a_circle() -> None:
    # A package's __init__ only collects names of its modules.
    graph = {
        name: {other for other in imports(path) if other in MODULES and MODULES[other].name != "__init__.py"}
        for name, path in MODULES.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError
