"""A server where TensorFlow is not installed."""

import json
import shutil
from pathlib import Path

import pytest

from tests.server_process import ROOT, serving
from text_classifier import Client, State
from textmodel import VersionFolder
from textmodel.version_folder import versions

MODELS = ROOT / "models"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment variables under which `import tensorflow` fails as it does where it is not installed."""
    folder = tmp_path_factory.mktemp("without")
    (folder / "tensorflow.py").write_text(
        'raise ModuleNotFoundError("No module named tensorflow", name="tensorflow")\n'
    )
    return {"PYTHONPATH": str(folder)}


def test_shipped_models_classify_and_explain_without_tensorflow(environment: dict[str, str]) -> None:
    flags = ("--workers", "1", "--keep-versions", "9")
    with serving(MODELS, *flags, environment=environment) as server, Client(server.address, timeout=60) as client:
        for model in (folder.name for folder in MODELS.iterdir() if folder.is_dir()):
            for version in versions(MODELS / model):
                (answer,) = client.classify(["A moving film."], model=model, version=version, explain=True)
                assert answer.version == version
                assert answer.explanation


def test_a_version_that_needs_tensorflow_or_lacks_a_file_fails_and_says_so(
    environment: dict[str, str], tiny_models: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_models, tmp_path, dirs_exist_ok=True)
    metadata = VersionFolder(tmp_path / "topic" / "1").metadata_file
    content = json.loads(metadata.read_bytes())
    words = content["vectorizer"]["num_words"]
    content["vectorizer"] = {"kind": "embedding", "num_words": words, "length": 8, "dimensions": 4}
    metadata.write_text(json.dumps(content))
    incomplete = shutil.copytree(tiny_models / "sentiment" / "1", tmp_path / "sentiment" / "2") / "assets.extra"
    weights = (incomplete / "weights.safetensors").rename(tmp_path / "weights")
    with (
        serving(tmp_path, "--workers", "1", environment=environment) as server,
        Client(server.address, timeout=60) as client,
    ):
        assert client.classify(["a film"], model="sentiment")
        failed, arriving = client.model("topic", version=1), client.model("sentiment", version=2)
        weights.rename(incomplete / "weights.safetensors")
        server.event("model in service", model="sentiment", version=2)
    assert failed.state is State.FAILED
    assert "-e '.[tensorflow]'" in failed.state_reason
    assert "weights.safetensors is missing or not copied yet" in arriving.state_reason
    assert "and TensorFlow is not installed" in arriving.state_reason
