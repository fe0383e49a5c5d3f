"""Explanations of a version, in this process."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from service.errors import CannotExplain, Overloaded
from service.explaining import WAITING_REQUESTS, Explanations
from tests.tiny_model import write_model
from textmodel.metadata import PaddedSequence
from textmodel.version_folder import fingerprint


def test_requests_beyond_those_that_may_wait_are_turned_away_and_the_others_answered(tiny_models: Path) -> None:
    path = tiny_models / "topic" / "1"

    async def run() -> None:
        explanations = Explanations("topic", 1, path, fingerprint(path))
        calls = [explanations.explain(["dull film"], [0]) for _ in range(WAITING_REQUESTS + 1)]
        *answers, last = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(answer, list) and len(answer[0].words) == 2 for answer in answers)
        assert isinstance(last, Overloaded)
        assert await explanations.explain(["dull film"], [0])

    asyncio.run(run())


def test_a_model_that_cannot_be_explained_says_why(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "topic")
    msgspec.structs.replace(folder.metadata, vectorizer=PaddedSequence(14, 8, 4)).write(folder.metadata_file)

    async def run() -> None:
        explanations = Explanations("topic", 1, folder.path, fingerprint(folder.path))
        with pytest.raises(CannotExplain, match=r"models/topic/versions/1 cannot be explained: .* an embedding"):
            await explanations.explain(["dull film"], [0])

    asyncio.run(run())
