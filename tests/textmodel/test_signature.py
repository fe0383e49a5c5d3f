"""The signature of a SavedModel, read without TensorFlow."""

from pathlib import Path

import pytest
import tensorflow as tf

from tests.tiny_model import write_model
from textmodel import ModelError, load_engine, signature
from textmodel.errors import SignatureError
from textmodel.names import EngineKind

COUNTS = {"words": tf.zeros([1], tf.int32), "known_words": tf.zeros([1], tf.int32)}


def test_the_signature_that_training_exports_is_right(tiny_models: Path) -> None:
    signature.check(tiny_models / "sentiment" / "1")
    signature.check(tiny_models / "topic" / "1")


@pytest.mark.parametrize(
    ("text", "outputs"),
    [
        ("words", {"probabilities": tf.zeros([1, 5]), "words": tf.zeros([1], tf.int32)}),
        ("text", {"probabilities": tf.zeros([1, 5]), "words": tf.zeros([1], tf.int32)}),
        ("text", {name: tf.zeros([1, 5]) for name in ("probabilities", "words", "known_words")}),
        ("text", {"probabilities": tf.zeros([5]), **COUNTS}),
    ],
    ids=["another input", "an output is missing", "counts are floats", "a dimension is missing"],
)
def test_another_signature_is_refused_and_the_right_one_named(
    text: str, outputs: dict[str, tf.Tensor], tmp_path: Path
) -> None:
    module = tf.Module()
    function = tf.function(lambda **_: outputs).get_concrete_function(**{text: tf.TensorSpec([None], tf.string, text)})
    tf.saved_model.save(module, str(tmp_path), signatures={signature.SIGNATURE: function})
    with pytest.raises(SignatureError, match=r"is not text: string\[batch\] -> probabilities"):
        signature.check(tmp_path)


def test_a_saved_model_without_the_signature_is_refused(tmp_path: Path) -> None:
    tf.saved_model.save(tf.Module(), str(tmp_path))
    with pytest.raises(SignatureError, match="has no signature 'serving_default'"):
        signature.check(tmp_path)


def test_a_damaged_saved_model_is_refused(tiny_models: Path, tmp_path: Path) -> None:
    whole = (tiny_models / "topic" / "1" / "saved_model.pb").read_bytes()
    for damaged in (b"garbage", whole[: len(whole) // 2]):
        (tmp_path / "saved_model.pb").write_bytes(damaged)
        with pytest.raises(ModelError):
            signature.check(tmp_path)


@pytest.mark.parametrize("kind", ["compiled", "tensorflow"])
def test_no_engine_is_loaded_from_a_version_of_another_signature(kind: EngineKind, tmp_path: Path) -> None:
    version = write_model(tmp_path, "sentiment").path
    loaded = tf.saved_model.load(str(version))
    tf.saved_model.save(loaded, str(version), signatures={"another": loaded.signatures["serving_default"]})
    with pytest.raises(SignatureError):
        load_engine(version, kind)
