"""The server follows its models folder while it serves. Every change here happens under a running server."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from tests.load import under_load
from tests.server_process import ServerProcess, serving
from tests.tiny_model import WORDS, write_model
from text_classifier import Classification, Client, State
from textmodel import VersionFolder, load_engine

FOLLOWING = ("--workers", "1", "--watch-interval", "0.05")
TEXT = "oil, a moving film"
OTHER_LABELS = ("bad", "good")
EXCHANGED_WORDS = [{"a": "oil", "oil": "a"}.get(word, word) for word in WORDS]
"""The vocabulary with two words exchanged that no probe holds."""


@pytest.fixture
def models(tiny_models: Path, tmp_path: Path) -> Path:
    """A models folder to change: `topic` and `sentiment`, version 1 of each."""
    return Path(shutil.copytree(tiny_models, tmp_path / "models"))


@contextmanager
def client_of(server: ServerProcess) -> Iterator[Client]:
    with Client(server.address, timeout=60) as client:
        yield client


def classify(client: Client, version: int = 0, model: str = "sentiment") -> Classification:
    return client.classify([TEXT], model=model, version=version)[0]


def expected(folder: Path) -> float:
    return float(load_engine(folder).classify([TEXT]).probabilities.max())


def test_new_versions_take_over_under_load_without_a_failed_call(models: Path) -> None:
    with serving(models, "--workers", "2", "--watch-interval", "0.05") as server:
        with under_load(server.address, model="sentiment") as load:
            for version in (2, 3, 4):
                write_model(models, "sentiment", labels=OTHER_LABELS, seed=version)
                unloaded = None
                for _ in range(2):  # both workers
                    unloaded = server.event("model unloaded", after=unloaded, model="sentiment", version=version - 1)
        # In each version's own words: nobody saw one model's labels on another's answer.
        for answer in load.answers:
            assert answer.label in (("negative", "positive") if answer.version == 1 else OTHER_LABELS)
        with client_of(server) as client:
            assert classify(client).version == 4
            assert classify(client).probability == pytest.approx(expected(models / "sentiment" / "4"), abs=1e-6)
            with pytest.raises(grpc.RpcError, match="available: version 4"):
                classify(client, version=3)
        metrics = server.metrics()
    assert {answer.version for answer in load.answers} >= {1, 4}
    assert 'text_classifier_model_in_service{model="sentiment",version="4"} 1.0' in metrics
    assert 'text_classifier_model_info{engine="compiled",model="sentiment",version="4"} 1.0' in metrics
    assert 'model="sentiment",version="1"' not in metrics
    assert 'model="topic",version="1"' in metrics


def test_a_new_model_appears_and_a_removed_one_goes(models: Path) -> None:
    with serving(models, *FOLLOWING) as server, client_of(server) as client:
        write_model(models, "another")
        server.event("model in service", model="another")
        assert classify(client, model="another").version == 1
        shutil.rmtree(models / "sentiment")
        server.event("model unloaded", model="sentiment")
        with pytest.raises(grpc.RpcError) as error:
            classify(client)
        assert error.value.code() is grpc.StatusCode.NOT_FOUND
        assert "available are another, topic" in str(error.value.details())
        assert [model.name for model in client.models()] == ["another", "topic"]


def _truncate_weights(folder: VersionFolder) -> None:
    weights = folder.path / "variables" / "variables.data-00000-of-00001"
    weights.write_bytes(weights.read_bytes()[:100])


def _flip_a_bit(folder: VersionFolder) -> None:
    weights = folder.path / "variables" / "variables.data-00000-of-00001"
    damaged = bytearray(weights.read_bytes())
    damaged[10] ^= 1
    weights.write_bytes(damaged)


def _exchange_probes(folder: VersionFolder) -> None:
    shutil.copy(folder.path.parent.parent / "sentiment" / "1" / "assets.extra" / "probes.jsonl", folder.probes_file)


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (lambda folder: folder.metadata_file.unlink(), "malformed"),
        (lambda folder: (folder.assets / "labels.txt").write_text("one\n"), "malformed"),
        (_truncate_weights, "malformed"),
        (_flip_a_bit, "malformed"),
        (_exchange_probes, "probe"),
    ],
    ids=["half-written", "labels", "truncated", "corrupt", "probe"],
)
def test_a_bad_version_never_serves_and_is_tried_again_when_its_files_change(
    damage: Callable[[VersionFolder], object], kind: str, models: Path, tmp_path: Path
) -> None:
    good = write_model(tmp_path / "elsewhere", "sentiment", seed=7).path
    bad = VersionFolder(Path(shutil.copytree(good, models / "sentiment" / ".bad")))
    damage(bad)
    with serving(models, *FOLLOWING) as server, client_of(server) as client:
        bad.path.rename(models / "sentiment" / "2")
        refused = server.event("model refused", model="sentiment", version=2)
        assert refused["kind"] == kind
        shown = client.model("sentiment", version=2)
        assert (shown.state, shown.in_service) == (State.FAILED, False)
        assert shown.state_reason
        assert classify(client).version == 1
        series = f'text_classifier_model_refused{{model="sentiment",reason="{kind}",version="2"}} 1.0'
        assert series in server.metrics()
        shutil.rmtree(models / "sentiment" / "2")
        shutil.copytree(good, models / "sentiment" / ".good")
        (models / "sentiment" / ".good").rename(models / "sentiment" / "2")
        server.event("model in service", after=refused, model="sentiment", version=2)
        server.event("model unloaded", after=refused, model="sentiment", version=1)
        assert classify(client).version == 2
        assert "text_classifier_model_refused{" not in server.metrics()


def test_a_version_that_is_copied_file_by_file_serves_once_it_is_whole(models: Path, tmp_path: Path) -> None:
    whole = write_model(tmp_path / "elsewhere", "sentiment", seed=7).path
    with serving(models, *FOLLOWING) as server, client_of(server) as client:
        target = models / "sentiment" / "2"
        refused = None
        for file in sorted(file for file in whole.rglob("*") if file.is_file()):
            (target / file.relative_to(whole)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target / file.relative_to(whole))
            if file.name != sorted(file.name for file in (whole / "variables").iterdir())[-1]:
                refused = server.event("model refused", after=refused, model="sentiment", version=2)
                assert classify(client).version == 1
        server.event("model in service", model="sentiment", version=2)
        assert classify(client).version == 2


def test_files_exchanged_in_the_serving_version_are_treated_like_a_new_version(models: Path) -> None:
    with serving(models, *FOLLOWING) as server, client_of(server) as client:
        before = classify(client)
        metadata = models / "sentiment" / "1" / "assets.extra" / "metadata.json"
        whole = metadata.read_text()
        metadata.write_text(whole[:100])
        refused = server.event("model refused", model="sentiment", version=1)
        shown = client.model("sentiment")
        assert (shown.state, shown.in_service) == (State.AVAILABLE, True)
        assert "metadata.json" in shown.state_reason
        assert classify(client) == before
        metadata.write_text(whole)
        server.event("model loaded", after=refused, model="sentiment", version=1)
        other = write_model(models.parent / "other", "sentiment", seed=9).path
        last = server.log[-1]
        for old, new in ((models / "sentiment" / "1", "old"), (other, "1")):
            old.rename(models / "sentiment" / new)
        server.event("model loaded", after=last, model="sentiment", version=1)
        assert classify(client).probability == pytest.approx(expected(models / "sentiment" / "1"), abs=1e-6)


@pytest.mark.parametrize("file", ["labels.txt", "vocabulary.txt"])
def test_a_file_of_another_version_in_the_serving_version_never_serves(file: str, models: Path, tmp_path: Path) -> None:
    serves = VersionFolder(models / "sentiment" / "1")
    other = write_model(
        tmp_path / "other", "sentiment", labels=("positive", "negative"), words=EXCHANGED_WORDS, seed=9
    ).path
    with serving(models, *FOLLOWING) as server, client_of(server) as client:
        before = classify(client)
        shutil.copy(other / "assets" / file, tmp_path / file)
        (tmp_path / file).rename(serves.assets / file)  # whole, so there is one reason
        refused = server.event("model refused", model="sentiment", version=1)
        shown = client.model("sentiment")
        assert (shown.state, shown.in_service) == (State.AVAILABLE, True)
        assert f"assets/{file}: was not written together with metadata.json" in shown.state_reason
        assert classify(client) == before
        shutil.copytree(other, serves.path, dirs_exist_ok=True)
        server.event("model loaded", after=refused, model="sentiment", version=1)
        after = classify(client)
        assert after.probability == pytest.approx(expected(other), abs=1e-6)
        winner = load_engine(other).classify([TEXT]).probabilities.argmax()
        assert after.label == ("positive", "negative")[winner]


def test_a_pin_file_rolls_back_and_its_removal_rolls_forward_without_a_failed_call(models: Path) -> None:
    write_model(models, "sentiment", seed=2)
    with (
        serving(models, *FOLLOWING) as server,
        under_load(server.address, model="sentiment") as load,
        client_of(server) as client,
    ):
        assert classify(client).version == 2
        pin = models / "sentiment" / "pin"
        pin.write_text("1\n")
        back = server.event("model in service", model="sentiment", version=1, pinned=True)
        server.event("model unloaded", after=back, model="sentiment", version=2)
        assert classify(client).version == 1
        pin.unlink()
        server.event("model in service", after=back, model="sentiment", version=2, pinned=False)
        assert classify(client).version == 2
    assert {answer.version for answer in load.answers} == {1, 2}


@pytest.mark.parametrize(
    ("pin", "event"),
    [("7", "model refused"), ("one", "cannot choose a version"), ("", "cannot choose a version")],
)
def test_a_pin_that_cannot_be_kept_changes_nothing_but_the_log(pin: str, event: str, models: Path) -> None:
    with serving(models, *FOLLOWING) as server, client_of(server) as client:
        (models / "sentiment" / "pin").write_text(pin)
        server.event(event, model="sentiment")
        write_model(models, "sentiment", seed=2)  # would be the newest
        write_model(models, "topic", labels=OTHER_LABELS)
        server.event("model in service", model="topic", version=2)  # a look later
        assert classify(client).version == 1


def test_the_pin_option_holds_at_the_start_and_the_file_wins_over_it(models: Path) -> None:
    for seed in (2, 3):
        write_model(models, "sentiment", seed=seed)
    with serving(models, *FOLLOWING, "--pin", "sentiment=1,nobody=3") as server, client_of(server) as client:
        assert classify(client).version == 1
        missing = server.event("model not found", model="nobody")
        assert missing["reason"].startswith("--pin names a model that ")
        assert missing["reason"].endswith("does not have: its models are sentiment, topic")
        (models / "sentiment" / "pin").write_text("2")
        server.event("model in service", model="sentiment", version=2, pinned=True)
        assert classify(client).version == 2


def test_a_pinned_version_that_is_missing_at_the_start_is_not_replaced_by_another(models: Path) -> None:
    with serving(models, *FOLLOWING, "--pin", "sentiment=9") as server, client_of(server) as client:
        with pytest.raises(grpc.RpcError) as error:
            classify(client)
        assert error.value.code() is grpc.StatusCode.NOT_FOUND
        reason = "sentiment has no version 9, which its pin or shadow names: its versions are 1"
        assert server.event("model refused", model="sentiment", version=9, kind="missing")["reason"] == reason
        failed = client.model("sentiment", version=9)
        assert (failed.state, failed.state_reason) == (State.FAILED, reason)
        assert classify(client, model="topic").version == 1


def test_the_newest_versions_are_kept_and_answer_when_they_are_named(models: Path) -> None:
    for seed in (2, 3):
        write_model(models, "sentiment", seed=seed)
    with serving(models, *FOLLOWING, "--keep-versions", "2") as server, client_of(server) as client:
        assert [classify(client, version).version for version in (0, 2, 3)] == [3, 2, 3]
        with pytest.raises(grpc.RpcError, match=r"not loaded: .* --keep-versions or a pin; available: versions 2, 3"):
            classify(client, version=1)
        with pytest.raises(grpc.RpcError, match="versions/9 not found: available: versions 2, 3"):
            classify(client, version=9)
        write_model(models, "sentiment", seed=4)
        server.event("model unloaded", model="sentiment", version=2)
        assert [classify(client, version).version for version in (0, 3, 4)] == [4, 3, 4]
        (models / "sentiment" / "pin").write_text("1")
        server.event("model unloaded", model="sentiment", version=3)
        assert [classify(client, version).version for version in (0, 1, 4)] == [1, 1, 4]


def test_sighup_looks_at_once_and_tries_refused_versions_again(models: Path) -> None:
    with serving(models, "--workers", "2", "--watch-interval", "0") as server, client_of(server) as client:
        bad = write_model(models, "sentiment", seed=2)
        bad.metadata_file.rename(bad.metadata_file.with_suffix(".away"))
        server.signal(signal.SIGHUP)
        refused = server.event("model refused", after=server.event("model refused"))
        assert server.event("scan requested")["folder"] == str(models)
        server.signal(signal.SIGHUP)
        again = server.event("model refused", after=server.event("model refused", after=refused))
        bad.metadata_file.with_suffix(".away").rename(bad.metadata_file)
        server.signal(signal.SIGHUP)
        server.event("model in service", after=server.event("model in service", after=again, version=2), version=2)
        assert classify(client).version == 2


@pytest.mark.parametrize("harm", ["removed", "emptied"])
def test_a_models_folder_that_vanishes_leaves_the_models_in_service_until_it_is_back(harm: str, models: Path) -> None:
    with serving(models, *FOLLOWING) as server, client_of(server) as client:
        away = models.with_name("away")
        models.rename(away)
        if harm == "emptied":
            models.mkdir()
            server.event("the models folder is empty")
        else:
            server.event("cannot read the models folder")
        assert classify(client).version == 1
        assert classify(client, model="topic").version == 1
        if harm == "emptied":
            models.rmdir()
        away.rename(models)
        write_model(models, "sentiment", seed=2)
        server.event("model in service", model="sentiment", version=2)
        assert classify(client).version == 2


def test_a_worker_that_is_restarted_serves_what_is_there_now_and_old_series_end(models: Path) -> None:
    with serving(models, "--workers", "1", "--watch-interval", "0") as server:
        write_model(models, "sentiment", seed=2)
        os.kill(server.event("ready", process="worker 0")["pid"], signal.SIGKILL)
        server.event("serving", after=server.event("died"))
        with client_of(server) as client:
            assert classify(client).version == 2
        metrics = server.metrics()
    assert 'text_classifier_model_info{engine="compiled",model="sentiment",version="2"} 1.0' in metrics
    assert 'model="sentiment",version="1"' not in metrics


def test_a_version_of_another_signature_never_serves(models: Path, tmp_path: Path) -> None:
    import tensorflow as tf  # noqa: PLC0415

    with serving(models, *FOLLOWING) as server, client_of(server) as client:
        other = write_model(tmp_path / "elsewhere", "sentiment", seed=7).path
        loaded = tf.saved_model.load(str(other))
        tf.saved_model.save(loaded, str(other), signatures={"another": loaded.signatures["serving_default"]})
        other.rename(models / "sentiment" / "2")
        assert server.event("model refused", model="sentiment", version=2)["kind"] == "signature"
        assert classify(client).version == 1
