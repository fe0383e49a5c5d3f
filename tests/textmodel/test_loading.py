import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.tiny_model import WORDS, write_model
from textmodel import ModelError, VersionFolder, load_engine, probes
from textmodel.errors import ProbeError, SignatureError, UnsupportedError
from textmodel.metadata import Abstention, NGrams
from textmodel.names import EngineKind


@pytest.fixture
def version(tiny_models: Path, tmp_path: Path) -> VersionFolder:
    """A version to damage."""
    return VersionFolder(Path(shutil.copytree(tiny_models / "sentiment" / "1", tmp_path / "1")))


UNPROBED = ("a", "oil")
"""Words of the vocabulary that no probe holds."""
EXCHANGED = [dict(zip(UNPROBED, UNPROBED[::-1], strict=True)).get(word, word) for word in WORDS]


def other_version(version: VersionFolder) -> VersionFolder:
    """The same but for the weights."""
    return write_model(version.path.parent / "other", "sentiment", seed=2)


def test_a_native_model_takes_the_compiled_engine(version: VersionFolder) -> None:
    reasons: list[ModelError] = []
    assert load_engine(version.path, on_fallback=reasons.append).name == "compiled"
    assert not reasons


def test_an_ngrams_model_gets_the_compiled_engine_and_tensorflow_agrees(tmp_path: Path) -> None:
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


def test_tensorflow_serves_with_a_reason_where_the_compiled_engine_cannot(
    version: VersionFolder,
) -> None:
    metadata = version.metadata_file.read_text()
    version.metadata_file.write_text(metadata.replace('"sigmoid"', '"linear"'))
    reasons: list[ModelError] = []
    assert load_engine(version.path, on_fallback=reasons.append).name == "tensorflow"
    assert "neither in softmax, one-vs-rest nor one sigmoid unit" in str(reasons[0])
    with pytest.raises(UnsupportedError, match="neither in softmax"):
        load_engine(version.path, "compiled")


def test_a_damaged_version_is_refused_without_asking_tensorflow(version: VersionFolder) -> None:
    metadata = version.metadata_file.read_text()
    version.metadata_file.write_text(metadata.replace('"units": 4', '"units": 5'))
    reasons: list[ModelError] = []
    with pytest.raises(ModelError, match=re.escape("dense/0/kernel: shape (14, 4) instead of (14, 5)")):
        load_engine(version.path, on_fallback=reasons.append)
    assert not reasons


def test_an_engine_that_answers_the_probes_differently_is_refused(version: VersionFolder) -> None:
    shutil.copy(other_version(version).probes_file, version.probes_file)
    for kind, name in (("auto", "compiled"), ("tensorflow", "tensorflow")):
        with pytest.raises(ProbeError, match=f"the {name} engine is"):
            load_engine(version.path, kind)  # type: ignore[arg-type]


def _exchange_lines(file: Path, one: str, other: str) -> None:
    lines = file.read_text().splitlines()
    exchanged = {one: other, other: one}
    file.write_text("".join(f"{exchanged.get(line, line)}\n" for line in lines))
    assert file.read_text().splitlines() != lines


def _append_unknown_field(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\x98\x06\x01")


@pytest.mark.parametrize("kind", ["compiled", "tensorflow"])
@pytest.mark.parametrize(
    ("file", "exchange"),
    [
        ("assets/labels.txt", lambda file: _exchange_lines(file, "negative", "positive")),
        ("assets/vocabulary.txt", lambda file: _exchange_lines(file, *UNPROBED)),
        ("saved_model.pb", _append_unknown_field),
    ],
)
def test_a_file_that_was_not_written_together_with_the_metadata_is_refused(
    file: str, exchange: Callable[[Path], object], kind: EngineKind, version: VersionFolder
) -> None:
    exchange(version.path / file)
    with pytest.raises(ModelError, match=rf"{file}: was not written together with metadata\.json: copy the whole"):
        load_engine(version.path, kind)


@pytest.mark.parametrize("kind", ["compiled", "tensorflow"])
def test_the_metadata_of_another_version_are_refused(kind: EngineKind, version: VersionFolder) -> None:
    shutil.copy(other_version(version).metadata_file, version.metadata_file)
    with pytest.raises(ModelError, match=r"was not written together with metadata\.json"):
        load_engine(version.path, kind)


def test_variables_of_another_version_are_refused_by_tensorflow_too(version: VersionFolder) -> None:
    shutil.copytree(other_version(version).path / "variables", version.path / "variables", dirs_exist_ok=True)
    with pytest.raises(ModelError, match=r"variables\.index: was not written together with metadata\.json"):
        load_engine(version.path, "tensorflow")


@pytest.mark.parametrize("kind", ["compiled", "tensorflow"])
def test_a_version_whose_metadata_hold_no_digests_loads(kind: EngineKind, version: VersionFolder) -> None:
    metadata = json.loads(version.metadata_file.read_bytes())
    del metadata["sha256"]
    version.metadata_file.write_text(json.dumps(metadata))
    (version.assets / "labels.txt").write_text("bad\ngood\n")
    assert load_engine(version.path, kind).name == kind


def test_labels_that_are_renamed_on_purpose_load_with_their_digest(version: VersionFolder) -> None:
    (version.assets / "labels.txt").write_text("bad\ngood\n")
    msgspec.structs.replace(version.metadata, sha256=version.sha256()).write(version.metadata_file)
    load_engine(version.path)
    assert VersionFolder(version.path).labels == ("bad", "good")


@pytest.mark.parametrize("kind", ["compiled", "tensorflow"])
def test_a_version_without_the_signature_is_refused_by_each_engine(kind: EngineKind, version: VersionFolder) -> None:
    (version.path / "saved_model.pb").write_bytes(b"")
    msgspec.structs.replace(version.metadata, sha256=version.sha256()).write(version.metadata_file)
    with pytest.raises(SignatureError, match="has no signature 'serving_default'"):
        load_engine(version.path, kind)


def test_probes_of_another_number_of_classes_are_refused(version: VersionFolder) -> None:
    probes.write(version.probes_file, [probes.Probe("", (0.2, 0.3, 0.5))])
    with pytest.raises(ModelError, match="2 labels, but the probes have 3"):
        load_engine(version.path)


def test_thresholds_of_another_number_of_classes_are_refused(version: VersionFolder) -> None:
    for thresholds in ((0.5, 2.0), (0.5,), ()):
        abstention = Abstention(0.9, thresholds)
        msgspec.structs.replace(version.metadata, abstention=abstention).write(version.metadata_file)
        if len(thresholds) == 2:
            load_engine(version.path)
        else:
            with pytest.raises(ModelError, match=f"2 labels, but the metadata have {len(thresholds)} thresholds"):
                load_engine(version.path)


def test_without_the_extension_tensorflow_serves(version: VersionFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "textmodel.compiled_engine", None)  # as if it could not be imported
    reasons: list[ModelError] = []
    assert load_engine(version.path, on_fallback=reasons.append).name == "tensorflow"
    assert "no compiled engine" in str(reasons[0])


def test_tensorflow_without_a_package_of_its_own_is_told_as_that(
    version: VersionFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "textmodel.tensorflow_engine", raising=False)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ModuleNotFoundError, match="numpy"):
        load_engine(version.path, "tensorflow")


def test_the_compiled_engine_does_not_import_tensorflow(version: VersionFolder) -> None:
    program = (
        "import sys, textmodel\n"
        "engine = textmodel.load_engine(sys.argv[1])\n"
        "print(engine.name, engine.classify(['the film']).words, 'tensorflow' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program, version.path], capture_output=True, text=True, check=True)
    assert run.stdout == "compiled [2] False\n"


@pytest.mark.parametrize(("words", "seed"), [(WORDS[::-1], 2), (EXCHANGED, 0)], ids=["all", "unprobed words"])
def test_files_that_are_exchanged_while_they_are_read_never_give_a_mixture(
    words: Sequence[str], seed: int, version: VersionFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_model(tmp_path / "other", "sentiment", words=words, seed=seed)
    texts = ["the moving film", "oil"]
    whole = [load_engine(folder.path, "compiled").classify(texts).probabilities for folder in (version, other)]
    open_ = io.open
    refused = opened = number = 0

    def exchanging(file: Any, *arguments: Any, **keywords: Any) -> Any:
        nonlocal opened
        if str(file).startswith(str(path)):
            if opened == number:
                shutil.copytree(other.path, path, dirs_exist_ok=True, copy_function=shutil.copyfile)
            opened += 1
        return open_(file, *arguments, **keywords)

    while number <= opened:  # once before each file that is read, and once after all
        path, opened = tmp_path / f"exchanged {number}", 0
        shutil.copytree(version.path, path)
        monkeypatch.setattr(io, "open", exchanging)
        try:
            answer = load_engine(path, "compiled").classify(texts).probabilities
            assert any((answer == expected).all() for expected in whole)
        except ModelError:
            refused += 1
        finally:
            monkeypatch.undo()
        number += 1
    assert number > 5
    assert refused > 0
