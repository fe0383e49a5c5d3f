"""The repository's Markdown files, parsed."""

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.server_process import ROOT


def files() -> list[Path]:
    """Finds every Markdown file that is, or is about to be, committed."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines()]


@cache
def tokens(file: Path) -> list[Token]:
    """Parses a file as GitHub does, tables too."""
    return MarkdownIt("gfm-like", {"linkify": False}).parse(file.read_text())


def targets(file: Path) -> Iterator[str]:
    """Yields what the file's links and images lead to."""
    for token in tokens(file):
        for child in token.children or ():
            target = child.attrGet("href") or child.attrGet("src")
            if target:
                yield str(target)


def anchors(file: Path) -> set[str]:
    """Returns the anchors that GitHub makes of the headings."""
    found: set[str] = set()
    times: Counter[str] = Counter()
    for opening, heading in pairwise(tokens(file)):
        if opening.type == "heading_open":
            text = "".join(child.content for child in heading.children or ())
            anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            found.add(f"{anchor}-{times[anchor]}" if times[anchor] else anchor)
            times[anchor] += 1
    return found


def broken(file: Path) -> list[str]:
    """Returns the links of a file to files or headings that are not there. Links to other hosts are not followed."""
    return [target for target in targets(file) if not re.match(r"[a-z]+:", target) and not _is_there(file, target)]


def _is_there(file: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    found = file.parent / path if path else file
    return found.exists() and (not anchor or anchor in anchors(found))
