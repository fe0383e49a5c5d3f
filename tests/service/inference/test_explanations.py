"""Explanations of a version, in this process."""

import asyncio
import gc
import shutil
import threading
import weakref
from pathlib import Path

import msgspec
import pytest

from service.config import Config
from service.errors import CannotExplain, Overloaded
from service.inference.explanations import MAX_WAITING_REQUESTS, ExplanationQueue, Explanations
from service.inference.reconciler import Reconciler
from service.inference.repository import ModelRepository
from service.inference.version_policy import VersionPolicy
from service.process.worker import publisher
from service.telemetry.metrics import VersionStates
from service.telemetry.shared_metrics import PAGE_BYTES, MetricsPage
from tests.tiny_model import write_model
from textmodel.metadata import Layer, PaddedSequence
from textmodel.version_folder import fingerprint


def test_requests_beyond_those_that_may_wait_are_turned_away_and_the_others_answered(tiny_models: Path) -> None:
    path = tiny_models / "topic" / "1"

    async def run() -> None:
        explanations = Explanations(ExplanationQueue(), "topic", 1, path, fingerprint(path))
        for _ in range(2):  # those that are answered wait no more
            calls = [explanations.explain(["dull film"], [0]) for _ in range(MAX_WAITING_REQUESTS + 1)]
            *answers, last = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(answer, list) and len(answer[0].words) == 2 for answer in answers)
            assert isinstance(last, Overloaded)
            assert last.retry_seconds >= 0.01
            assert str(last).startswith("the queue of explanations is full, try again in ")

    asyncio.run(run())


def test_one_request_of_a_worker_is_explained_at_a_time_and_cancelled_ones_never(tiny_models: Path) -> None:
    begun: list[str] = []
    others = set(threading.enumerate())  # that of another test may yet have to end
    first_runs, go_on = threading.Event(), threading.Event()

    def explain_first() -> None:
        first_runs.set()
        go_on.wait(60)

    async def run() -> None:
        queue, paths = ExplanationQueue(), {name: tiny_models / name / "1" for name in ("topic", "sentiment")}
        of_model = {name: Explanations(queue, name, 1, path, fingerprint(path)) for name, path in paths.items()}
        first = asyncio.create_task(queue.run(explain_first))
        await asyncio.to_thread(first_runs.wait, 60)
        other = asyncio.create_task(of_model["sentiment"].explain(["dull film"], [0]))
        late = asyncio.create_task(queue.run(lambda: begun.append("late")))
        kept = asyncio.create_task(queue.run(lambda: begun.append("kept")))
        await asyncio.sleep(0)  # all three wait now
        late.cancel()  # as its deadline, or its client's disconnect, does
        with pytest.raises(asyncio.CancelledError):  # the event loop passes a cancellation on in its next turn
            await late
        assert not other.done()
        go_on.set()
        await asyncio.gather(first, other, kept)
        ours = set(threading.enumerate()) - others
        assert sum(thread.name.startswith("explain") for thread in ours) == 1

    asyncio.run(run())
    assert begun == ["kept"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"vectorizer": PaddedSequence(14, 8, 4)},
            "only models over words or n-grams can be explained; this one has an embedding",
        ),
        (
            {"network": (Layer(4, "relu"), Layer(1, "relu"), Layer(1, "sigmoid"))},
            "assets.extra/weights.safetensors: there is no tensor dense/2/kernel",
        ),
    ],
)
def test_a_model_that_cannot_be_explained_says_why_but_not_where_it_is(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    folder = write_model(tmp_path, "topic")
    msgspec.structs.replace(folder.metadata, **changes).write(folder.metadata_file)

    async def run() -> None:
        explanations = Explanations(ExplanationQueue(), "topic", 1, folder.path, fingerprint(folder.path))
        with pytest.raises(CannotExplain) as error:
            await explanations.explain(["dull film"], [0])
        assert str(error.value) == f"models/topic/versions/1 cannot be explained: {reason}"

    asyncio.run(run())


def reconciled(models: Path) -> tuple[ModelRepository, Reconciler]:
    page = MetricsPage(bytearray(PAGE_BYTES), owner=0)
    repository = ModelRepository()
    return repository, Reconciler(
        repository,
        models,
        engine="auto",
        policy=VersionPolicy(1, {}),
        publish=publisher(Config(), page),
        states=VersionStates(page),
    )


def test_files_that_were_refused_explain_nothing_for_the_version_that_serves(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "topic")
    other = write_model(tmp_path / "other", "topic", seed=2)

    async def run() -> None:
        repository, reconciler = reconciled(tmp_path)
        await reconciler.load()
        shutil.copytree(other.path / "variables", folder.path / "variables", dirs_exist_ok=True)
        shutil.copy(other.path / "assets.extra" / "weights.safetensors", folder.path / "assets.extra")
        await reconciler.load()
        assert "was not written together" in repository.find("topic", 1).reason
        with pytest.raises(CannotExplain, match="its files have changed since it was loaded"):
            await repository.get("topic", 1).explanations.explain(["dull film"], [0])
        await reconciler.close()

    asyncio.run(run())


def test_a_version_that_retires_takes_along_what_explains_it(tmp_path: Path) -> None:
    write_model(tmp_path, "topic")

    async def run() -> None:
        repository, reconciler = reconciled(tmp_path)
        await reconciler.load()
        assert await repository.get("topic", 1).explanations.explain(["dull film"], [0])
        explanations = weakref.ref(repository.get("topic", 1).explanations)
        write_model(tmp_path, "topic", seed=2)
        await reconciler.load()
        assert repository.get("topic", 0).version == 2
        gc.collect()
        assert explanations() is None
        await reconciler.close()

    asyncio.run(run())
