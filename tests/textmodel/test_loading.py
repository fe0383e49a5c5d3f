import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny_model import write_model
from textmodel import ModelError, VersionFolder, load_engine, probes
from textmodel.metadata import NGrams


@pytest.fixture
def version(tiny_models: Path, tmp_path: Path) -> VersionFolder:
    """A version to damage."""
    return VersionFolder(Path(shutil.copytree(tiny_models / "sentiment" / "1", tmp_path / "1")))


def other_version(version: VersionFolder) -> VersionFolder:
    """The same but for the weights."""
    return write_model(version.path.parent / "other", "sentiment", seed=2)


def test_a_bag_of_words_model_takes_the_compiled_engine(version: VersionFolder) -> None:
    reasons: list[ModelError] = []
    assert load_engine(version.path, on_fallback=reasons.append).name == "compiled"
    assert not reasons


def test_an_ngrams_model_takes_the_compiled_engine_too_and_tensorflow_answers_the_same(tmp_path: Path) -> None:
    version = write_model(tmp_path, "test", vectorizer=lambda size: NGrams(size, 3, 64, "log", normalize=True))
    reasons: list[ModelError] = []
    engines = [load_engine(version.path, on_fallback=reasons.append), load_engine(version.path, "tensorflow")]
    assert [engine.name for engine in engines] == ["compiled", "tensorflow"]
    assert not reasons
    for engine in engines:
        probes.verify(engine, version.probes)


@pytest.mark.parametrize("kind", ["tensorflow", "compiled"])
def test_an_engine_can_be_asked_for(version: VersionFolder, kind: str) -> None:
    assert load_engine(version.path, kind).name == kind  # type: ignore[arg-type]


def test_tensorflow_serves_and_says_why_if_the_variables_cannot_be_read(version: VersionFolder) -> None:
    metadata = version.metadata_file.read_text()
    version.metadata_file.write_text(metadata.replace('"units": 4', '"units": 5'))
    reasons: list[ModelError] = []
    assert load_engine(version.path, on_fallback=reasons.append).name == "tensorflow"
    assert "dense/0/kernel: shape (14, 4) instead of (14, 5)" in str(reasons[0])
    with pytest.raises(ModelError, match="dense/0/kernel"):
        load_engine(version.path, "compiled")


def test_an_engine_that_answers_the_probes_differently_is_refused(version: VersionFolder) -> None:
    shutil.copy(other_version(version).probes_file, version.probes_file)
    reasons: list[ModelError] = []
    with pytest.raises(ModelError, match="the tensorflow engine is"):
        load_engine(version.path, on_fallback=reasons.append)
    assert "the compiled engine is" in str(reasons[0])
    with pytest.raises(ModelError, match="the compiled engine is"):
        load_engine(version.path, "compiled")


def test_probes_of_another_number_of_classes_are_refused(version: VersionFolder) -> None:
    probes.write(version.probes_file, [probes.Probe("", (0.2, 0.3, 0.5))])
    with pytest.raises(ModelError, match="2 labels, but the probes have 3"):
        load_engine(version.path)


def test_without_the_extension_tensorflow_serves(version: VersionFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "textmodel.compiled_engine", None)  # as if it could not be imported
    reasons: list[ModelError] = []
    assert load_engine(version.path, on_fallback=reasons.append).name == "tensorflow"
    assert "no compiled engine" in str(reasons[0])


def test_the_compiled_engine_does_not_import_tensorflow(version: VersionFolder) -> None:
    program = (
        "import sys, textmodel\n"
        "engine = textmodel.load_engine(sys.argv[1])\n"
        "print(engine.name, engine.classify(['the film']).words, 'tensorflow' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program, version.path], capture_output=True, text=True, check=True)
    assert run.stdout == "compiled [2] False\n"
