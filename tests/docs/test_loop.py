"""The guide to the loop in production: its commands run in order, from a first labelled file to a promoted version."""

import csv
import json
import random
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from tests.docs import markdown
from tests.docs.test_readme import checkout, run
from tests.server_process import ROOT, ServerProcess, serving

__all__ = ["checkout"]

GUIDE = ROOT / "docs" / "loop.md"
BLOCKS = [
    (block.content, before.content.strip() if before.type == "html_block" else "")
    for before, block in pairwise(markdown.tokens(GUIDE))
    if block.type == "fence"
]
FIRST = {"bill": ("invoice", "refund", "receipt"), "bug": ("error", "crash", "exception")}
LATER = {"bill": ("charge", "payment", "tax"), "bug": ("freeze", "timeout", "glitch")}
"""Words of the second half of the tickets, which only the second version has learned."""


def tickets(words: Mapping[str, tuple[str, ...]], count: int, seed: int) -> list[tuple[str, str]]:
    """Returns texts with their queues."""
    chance = random.Random(seed)
    return [
        (f"{chance.choice(words[queue])} number {chance.randrange(10**6)} please help", queue)
        for queue in words
        for _ in range(count)
    ]


def write(path: Path, rows: list[tuple[str, str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("body", "queue"), *rows])


@pytest.fixture(scope="module")
def folder(checkout: Path) -> Path:
    """The user's folder."""
    write(checkout / "tickets.csv", tickets(FIRST, 40, seed=0))
    write(checkout / "more.csv", tickets(LATER, 40, seed=1))
    traffic = tickets(FIRST, 40, seed=2) + tickets(LATER, 60, seed=3)
    (checkout / "traffic.txt").write_text("".join(f"{text}\n" for text, _ in traffic))
    return checkout


def captured(folder: Path) -> Iterator[dict[str, object]]:
    for path in (folder / "captured").iterdir():
        for line in path.read_text().splitlines():
            yield json.loads(line)


def label(folder: Path) -> None:
    """Does what a person does."""
    truth = dict(tickets(FIRST, 40, seed=2) + tickets(LATER, 60, seed=3))
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = [json.loads(line)["text"] for line in (folder / "disagreements.jsonl").read_text().splitlines()]
        csv.writer(file).writerows([("text", "label"), *((text, truth[text]) for text in rows)])


def counted(folder: Path) -> int:
    return sum(int(str(line["texts"])) for line in captured(folder) if line["kind"] == "compared")


@pytest.mark.parametrize("checkout", [GUIDE.stem], indirect=True)
def test_the_guide_leads_from_a_labelled_file_to_a_promoted_version(folder: Path) -> None:
    start = next(number for number, (_, comment) in enumerate(BLOCKS) if "the server" in comment)
    for content, _ in BLOCKS[:start]:
        run_offline(content, folder)
    flags = ("--capture", str(folder / "captured"), "--workers", "1", "--watch-interval", "0.05")
    with serving(folder / "models", *flags) as server:
        said = [step(content, folder, server) for content, _ in BLOCKS[start + 1 :]]
        assert "abstained" in said[0]
        listed = next(text for text in said if "TEST ACCURACY" in text)
        assert "available, shadow: " in listed
        verdict = next(text for text in said if "Promoted: " in text)
        assert "models/tickets/2 is better than models/tickets/1: difference of accuracy +0." in verdict
        assert "available, in service" in next(line for line in said[-1].splitlines() if "tickets  2" in line)


def run_offline(content: str, folder: Path) -> None:
    class Nowhere:
        address = http = "127.0.0.1:9"

    run(content, "sh", folder, Nowhere())  # type: ignore[arg-type]


def step(content: str, folder: Path, server: ServerProcess) -> str:
    """Runs a block, and waits for what a user sees before the next one."""
    if content.startswith("grep"):
        while counted(folder) < 200:
            pass
    said = run(content, "sh", folder, server)
    if "> models/tickets/shadow" in content:
        server.event("shadow started", model="tickets", version=2)
    if content.startswith("grep"):
        label(folder)
    if "judge" in content:
        server.event("model in service", model="tickets", version=2)
    return said
