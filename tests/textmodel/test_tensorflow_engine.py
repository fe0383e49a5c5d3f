"""The TensorFlow engine: what it runs, and what it refuses."""

from pathlib import Path

import pytest

from textmodel import ModelError
from textmodel.tensorflow_engine import TensorFlowEngine


def test_it_classifies_any_text(tiny_models: Path) -> None:
    answer = TensorFlowEngine(tiny_models / "topic" / "1").classify(["", "a moving film", "\0 😀"])
    assert answer.probabilities.shape == (3, 5)
    assert answer.probabilities.sum(axis=1).tolist() == pytest.approx([1, 1, 1])
    assert (answer.words.tolist(), answer.known_words.tolist()) == ([0, 3, 2], [0, 3, 0])


def test_a_folder_that_is_no_saved_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"garbage")
    with pytest.raises(ModelError, match="TensorFlow cannot load it"):
        TensorFlowEngine(tmp_path)
