"""A peer: MLServer with a runtime that calls the SavedModel's signature. Runs in MLServer's own environment."""

import numpy as np
import tensorflow as tf
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class SavedModel(MLModel):
    """Serves the version folder that the settings name as the model's URI."""

    async def load(self) -> bool:
        """Loads the model, and calls it once, since the first call is slow."""
        self._model = tf.saved_model.load(self.settings.parameters.uri)
        self._classify = self._model.signatures["serving_default"]
        self._classify(text=tf.constant([""]))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answers the input `text`, BYTES (n, 1), with the signature's outputs."""
        texts = np.array(payload.inputs[0].data.root, dtype=object)
        answer = self._classify(text=tf.constant(texts, tf.string))
        outputs = [NumpyCodec.encode_output(name, tensor.numpy()) for name, tensor in answer.items()]
        return InferenceResponse(model_name=self.name, outputs=outputs)
