"""The engine that runs any SavedModel with the signature, in TensorFlow."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from textmodel import signature
from textmodel.engine import Prediction
from textmodel.errors import ModelError, SignatureError


class TensorFlowEngine:
    """Calls the SavedModel's signature.

    Args:
        path: the version folder.

    Raises:
        ModelError: the folder is not a SavedModel that this TensorFlow reads, or it has another signature.
    """

    name = "tensorflow"
    inline_bytes = 0

    def __init__(self, path: Path) -> None:
        try:
            self._model = tf.saved_model.load(str(path))  # keeps the variables and the table alive
        except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
            raise ModelError(f"{path}: TensorFlow cannot load it: {error}") from error
        if signature.SIGNATURE not in self._model.signatures:
            raise SignatureError(f"{path}: has no signature {signature.SIGNATURE!r}")
        self._classify = self._model.signatures[signature.SIGNATURE]
        _check(self._classify, path)

    def classify(self, texts: Sequence[str]) -> Prediction:
        """Classifies texts."""
        encoded = np.array([text.encode() for text in texts], dtype=object)
        answer = self._classify(**{signature.TEXT: tf.constant(encoded, tf.string)})
        return Prediction(
            answer[signature.PROBABILITIES].numpy(),
            answer[signature.WORDS].numpy(),
            answer[signature.KNOWN_WORDS].numpy(),
        )


def _check(classify: tf.types.experimental.ConcreteFunction, path: Path) -> None:
    _, inputs = classify.structured_input_signature
    outputs = classify.structured_outputs
    expected = {
        signature.PROBABILITIES: (tf.float32, 2),
        signature.WORDS: (tf.int32, 1),
        signature.KNOWN_WORDS: (tf.int32, 1),
    }
    actual = {name: (spec.dtype, spec.shape.rank) for name, spec in outputs.items()}
    if set(inputs) != {signature.TEXT} or inputs[signature.TEXT].dtype != tf.string or actual != expected:
        raise SignatureError(
            f"{path}: the signature {signature.SIGNATURE!r} is not text: string[batch] -> probabilities:"
            " float32[batch, classes], words: int32[batch], known_words: int32[batch]"
        )
