"""The names of tests: short, and those that the documentation cites exist."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs import markdown
from tests.server_process import ROOT

TESTS = ROOT / "tests"
LONGEST = 80


def names_in(file: Path) -> set[str]:
    """Returns the names of the tests in a module."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = ast.walk(ast.parse(file.read_text()))
    return {node.name for node in nodes if isinstance(node, functions) and node.name.startswith("test_")}


def cited(file: Path) -> Iterator[tuple[str, str]]:
    """Yields module and name of each test that a page cites.

    A citation is `module.py`, `module.py::name`, or `...::name` of any module. `...` stands for any characters.
    """
    for token in markdown.tokens(file):
        for child in token.children or ():
            found = re.fullmatch(r"([\w/]*test_\w+\.py)?(?:::)?([\w.:]*)", child.content)
            if child.type == "code_inline" and found and (found[1] or "..." in found[2]):
                yield found[1] or "...", found[2].replace("...::", "...")


def exists(module: str, name: str) -> bool:
    """Tells whether there is such a test."""
    files = TESTS.rglob("test_*.py") if module == "..." else [TESTS / module]
    pattern = re.escape(name).replace(r"\.\.\.", ".*")
    return any(
        file.exists() and (not name or any(re.fullmatch(pattern, test) for test in names_in(file))) for file in files
    )


@pytest.mark.parametrize("file", sorted(TESTS.rglob("test_*.py")), ids=lambda file: str(file.relative_to(TESTS)))
def test_the_names_of_tests_are_short(file: Path) -> None:
    assert [name for name in sorted(names_in(file)) if len(name) > LONGEST] == []


def test_every_test_that_the_promises_cite_exists() -> None:
    citations = list(cited(ROOT / "docs" / "reliability.md"))
    assert len(citations) > 20
    assert [citation for citation in citations if not exists(*citation)] == []


def test_a_citation_without_its_test_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    good = "`docs/test_names.py`, `...::test_every_test_...`"
    page.write_text(f"{good}, `docs/test_names.py::test_of_nothing`, `docs/test_nothing.py`")
    assert [exists(*citation) for citation in cited(page)] == [True, True, False, False]
