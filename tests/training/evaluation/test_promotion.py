import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.tiny_model import write_model
from tests.training import made_up
from textmodel import VersionFolder, load_engine
from textmodel.metadata import Abstention
from training.cli import main
from training.data import keras_datasets
from training.evaluation.comparison import AccuracyComparison, MacroF1Comparison
from training.evaluation.promotion import Decision, Gate
from training.evaluation.version_evaluation import LoadedVersion, VersionComparison

QUICK = ["--preset", "ngram", "--num-words", "40", "--min-df", "1", "--buckets", "64", "--cost", "1"]
QUICK += ["--validation-samples", "60"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up data sets, with enough texts to tell a trained version from one that guesses. Not to be changed."""
    return made_up.write_files(tmp_path_factory.mktemp("data"), texts=400)


def _train(files: Path, models: Path) -> str:
    """Returns what training says."""
    command = ["imdb", "--data-dir", str(files), "--models", str(models), "--promote-if-better", *QUICK]
    with redirect_stdout(StringIO()) as said:
        assert main(command) == 0
    return said.getvalue()


def _names(models: Path) -> list[str]:
    return sorted(entry.name for entry in (models / "imdb").iterdir())


@pytest.fixture(scope="module")
def retrained(files: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A models folder whose version 1 guesses, version 2 is trained, and what that training said. Not to be changed."""
    models = tmp_path_factory.mktemp("models")
    write_model(models, "imdb", words=made_up.WORDS)
    return models, _train(files, models)


@pytest.fixture
def models(retrained: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of that folder."""
    return Path(shutil.copytree(retrained[0], tmp_path / "models"))


def test_the_first_version_is_promoted(files: Path, tmp_path: Path) -> None:
    assert f"Promoted: {tmp_path}/imdb/1 is the first version." in _train(files, tmp_path)
    assert _names(tmp_path) == ["1"]


def test_a_better_version_is_promoted(retrained: tuple[Path, str]) -> None:
    models, said = retrained
    assert _names(models) == ["1", "2"]
    assert f"Promoted: {models}/imdb/2 is better than {models}/imdb/1: accuracy " in said
    assert said.endswith("on 400 texts.\n")


def test_a_version_that_is_not_better_is_kept_where_no_server_looks(files: Path, models: Path) -> None:
    said = _train(files, models)  # the same again
    assert _names(models) == ["1", "2", "candidate-3"]
    assert f"Wrote {models}/imdb/candidate-3\n" in said
    assert f"Not promoted: {models}/imdb/2 stays in service, since it is undecided whether" in said
    assert f"kept in {models}/imdb/candidate-3, which no server loads" in said
    assert load_engine(models / "imdb" / "candidate-3").classify(["good"]).probabilities.shape == (1, 2)


def test_the_incumbent_is_the_pinned_version(files: Path, models: Path) -> None:
    (models / "imdb" / "pin").write_text("1")
    said = _train(files, models)  # as good as version 2, but better than version 1
    assert _names(models) == ["1", "2", "3", "pin"]
    assert f"is better than {models}/imdb/1: " in said
    assert f"But {models}/imdb/pin names the version that is served: write 3 into it." in said


def test_an_incumbent_that_cannot_be_loaded_is_found_before_training(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "imdb" / "1").mkdir(parents=True)
    assert main(["imdb", "--data-dir", str(files), "--models", str(tmp_path), "--promote-if-better", *QUICK]) == 1
    said = capsys.readouterr()
    assert "imdb/1" in said.err
    assert said.out == ""
    assert _names(tmp_path) == ["1"]


@pytest.mark.parametrize(
    ("comparison", "promoted"),
    [
        (AccuracyComparison(50, 0, 20, 5), True),
        (AccuracyComparison(50, 20, 0, 5), False),
        (AccuracyComparison(50, 2, 3, 5), False),
    ],
)
def test_only_a_better_version_is_promoted(
    comparison: AccuracyComparison, promoted: bool, retrained: tuple[Path, str]
) -> None:
    incumbent = LoadedVersion(retrained[0] / "imdb" / "1")
    result = VersionComparison(comparison, None, 0, {})
    assert Decision(Gate(), incumbent, result, incumbent.labels).promoted is promoted


@pytest.fixture(scope="module")
def incumbent(tmp_path_factory: pytest.TempPathFactory) -> LoadedVersion:
    """A version with labels a, b and c."""
    return LoadedVersion(write_model(tmp_path_factory.mktemp("labels"), "mine", labels=("a", "b", "c")).path)


BETTER = VersionComparison(AccuracyComparison(50, 0, 20, 5), None, 7, {})


def test_a_better_version_that_lacks_a_label_is_promoted_only_if_allowed(incumbent: LoadedVersion) -> None:
    refused, allowed = (
        Decision(Gate(allow_removed_labels=allow), incumbent, BETTER, ("a", "c", "d")) for allow in (False, True)
    )
    assert (refused.promoted, allowed.promoted) == (False, True)
    for decision in (refused, allowed):
        said = decision.sentence(Path("models/mine/candidate-2"))
        assert "Removed labels: 'b'. Added labels: 'd'." in said
        assert "Left out 7 texts that one of the versions has learned." in said
    assert "--allow-removed-labels" in refused.sentence(Path("models/mine/candidate-2"))


def test_an_added_label_does_not_keep_a_better_version_out(incumbent: LoadedVersion) -> None:
    decision = Decision(Gate(), incumbent, BETTER, ("a", "b", "c", "d"))
    assert decision.promoted
    assert "Removed" not in decision.sentence(Path("models/mine/2"))


def test_the_gate_goes_by_its_metric(incumbent: LoadedVersion) -> None:
    truth = np.repeat([0, 1], [950, 50])
    common, rare = np.zeros(1000, np.int64), np.where(np.arange(1000) >= 910, 1, 0)
    accuracy = AccuracyComparison.of(common == truth, rare == truth)
    result = VersionComparison(accuracy, MacroF1Comparison(truth, common, rare), 0, {})
    by_accuracy, by_macro_f1 = (
        Decision(Gate(metric), incumbent, result, incumbent.labels) for metric in ("accuracy", "macro-f1")
    )
    assert (by_accuracy.promoted, by_macro_f1.promoted) == (False, True)
    assert "macro-F1 0." in by_macro_f1.sentence(Path("models/mine/2"))


@pytest.fixture
def with_thresholds(models: Path) -> Path:
    """The models folder whose version in service has thresholds."""
    folder = VersionFolder(models / "imdb" / "2")
    msgspec.structs.replace(folder.metadata, abstention=Abstention(0.9, (0.7, 0.8))).write(folder.metadata_file)
    return models


def test_a_version_that_lacks_thresholds_is_refused_before_training(
    files: Path, with_thresholds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["imdb", "--data-dir", str(files), "--models", str(with_thresholds), "--promote-if-better", *QUICK]
    assert main(command) == 2
    said = capsys.readouterr()
    assert f"{with_thresholds}/imdb/2 is in service and has thresholds" in said.err
    assert "train it with --target-precision 0.9; --allow-removed-thresholds" in said.err
    assert said.err.count("\n") == 1
    assert _names(with_thresholds) == ["1", "2"]
    assert main([*command, "--allow-removed-thresholds"]) == 0
    assert _names(with_thresholds) == ["1", "2", "candidate-3"]


def test_training_without_a_gate_warns_of_thresholds_that_are_lost(
    files: Path, with_thresholds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["imdb", "--data-dir", str(files), "--models", str(with_thresholds), *QUICK]
    assert main(command) == 0
    assert "Warning: " in (said := capsys.readouterr().out)
    assert "requests with use_thresholds would fail: train it with --target-precision 0.9" in said
    (with_thresholds / "imdb" / "pin").write_text("2")
    assert main([*command, "--target-precision", "0.9"]) == 0
    assert "use_thresholds" not in capsys.readouterr().out


def test_without_a_text_that_is_new_to_both_versions_none_is_promoted(incumbent: LoadedVersion) -> None:
    decision = Decision(Gate(), incumbent, VersionComparison(None, None, 40, {}), incumbent.labels)
    assert not decision.promoted
    assert "has learned every test text" in decision.sentence(Path("models/mine/candidate-2"))


def test_the_first_version_needs_no_comparison() -> None:
    assert Decision(Gate()).promoted


def test_the_test_texts_hold_every_word_whatever_the_vocabulary(files: Path) -> None:
    rows = list(keras_datasets.test_rows("imdb", files))
    data = keras_datasets.load("imdb", files, 40)
    assert [row.label for row in rows] == [data.labels[label] for label in data.test.classes]
    assert [data.vocabulary.indices(row.text) for row in rows] == [list(indices) for indices in data.test.sequences]
    assert {made_up.WORDS[-1], made_up.WORDS[0]} < {word for row in rows for word in row.text.split()}


def test_training_records_the_share_of_unknown_words(retrained: tuple[Path, str]) -> None:
    recorded = VersionFolder(retrained[0] / "imdb" / "2").metadata.data_set.unknown_word_ratio
    ranks = [rank for text in made_up.arrays("imdb", 400)["x_train"] for rank in text]
    assert recorded is not None
    assert recorded == pytest.approx(sum(rank + 3 >= 40 for rank in ranks) / len(ranks))
    assert 0 < recorded < 1
