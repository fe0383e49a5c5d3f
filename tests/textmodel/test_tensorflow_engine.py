"""The TensorFlow engine: what it runs, and what it refuses."""

from pathlib import Path

import pytest
import tensorflow as tf

from textmodel import ModelError, signature
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


@pytest.mark.parametrize(
    ("text", "outputs"),
    [
        ("words", {"probabilities": tf.zeros([1, 5]), "words": tf.zeros([1], tf.int32)}),
        ("text", {"probabilities": tf.zeros([1, 5]), "words": tf.zeros([1], tf.int32)}),
        ("text", {name: tf.zeros([1, 5]) for name in ("probabilities", "words", "known_words")}),
    ],
    ids=["another input", "an output is missing", "counts are floats"],
)
def test_another_signature_is_refused_and_the_right_one_named(
    text: str, outputs: dict[str, tf.Tensor], tmp_path: Path
) -> None:
    module = tf.Module()
    function = tf.function(lambda **_: outputs).get_concrete_function(**{text: tf.TensorSpec([None], tf.string, text)})
    tf.saved_model.save(module, str(tmp_path), signatures={signature.SIGNATURE: function})
    with pytest.raises(ModelError, match=r"is not text: string\[batch\] -> probabilities"):
        TensorFlowEngine(tmp_path)


def test_a_saved_model_without_the_signature_is_refused(tmp_path: Path) -> None:
    tf.saved_model.save(tf.Module(), str(tmp_path))
    with pytest.raises(ModelError, match="has no signature 'serving_default'"):
        TensorFlowEngine(tmp_path)
