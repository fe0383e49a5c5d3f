"""The engine that runs any SavedModel with the signature, in TensorFlow."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from textmodel import signature
from textmodel.engine import Prediction
from textmodel.errors import ModelError


class TensorFlowEngine:
    """Calls the SavedModel's signature.

    Args:
        path: the version folder. Its signature has been checked.

    Raises:
        ModelError: the folder is not a SavedModel that this TensorFlow reads.
    """

    name = "tensorflow"
    inline_bytes = 0

    def __init__(self, path: Path) -> None:
        try:
            self._model = tf.saved_model.load(str(path))  # keeps the variables and the table alive
        except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
            raise ModelError(f"{path}: TensorFlow cannot load it: {error}") from error
        self._classify = self._model.signatures[signature.SIGNATURE]

    def classify(self, texts: Sequence[str]) -> Prediction:
        """Classifies texts."""
        encoded = np.array([text.encode() for text in texts], dtype=object)
        answer = self._classify(**{signature.TEXT: tf.constant(encoded, tf.string)})
        return Prediction(
            answer[signature.PROBABILITIES].numpy(),
            answer[signature.WORDS].numpy(),
            answer[signature.KNOWN_WORDS].numpy(),
        )
