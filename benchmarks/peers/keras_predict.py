"""A peer: the simplest server of a Keras model, `model.predict` for each request behind grpcio's thread pool.

`python -m benchmarks.peers.keras_predict VERSION_FOLDER PORT`
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import keras
import numpy as np

from text_classifier.v1 import text_classifier_pb2 as pb2
from text_classifier.v1 import text_classifier_pb2_grpc as pb2_grpc
from textmodel import VersionFolder
from textmodel.vocabulary import START, UNKNOWN

THREADS = 10
"""As in gRPC's own Python examples."""


class KerasServicer(pb2_grpc.TextClassifierServicer):
    """Implements `Classify` with the network of a bag-of-words version, rebuilt in Keras."""

    def __init__(self, folder: VersionFolder) -> None:
        self._folder = folder
        self._model = keras.Sequential([keras.Input((folder.metadata.vectorizer.num_words,))])
        for layer in folder.weights.layers:
            dense = keras.layers.Dense(len(layer.bias), layer.activation)
            self._model.add(dense)
            dense.set_weights([layer.kernel, layer.bias])
        self._predict(np.zeros((1, *self._model.input_shape[1:]), np.float32))  # compiles before threads come

    def Classify(self, request: pb2.ClassifyRequest, context: Any) -> pb2.ClassifyResponse:  # noqa: N802 - the contract names it
        """See the contract; `top_k` is ignored."""
        sequences = [self._folder.vocabulary.indices(text) for text in request.texts]
        vectors = np.zeros((len(sequences), *self._model.input_shape[1:]), np.float32)
        for vector, indices in zip(vectors, sequences, strict=True):
            vector[indices] = 1
        probabilities = self._predict(vectors)
        response = pb2.ClassifyResponse(model=request.model, version=1)
        for indices, row in zip(sequences, probabilities, strict=True):
            winner = int(row.argmax())
            response.classifications.add(
                label=self._folder.labels[winner],
                probability=row[winner],
                words=len(indices) - indices.count(START),
                known_words=len(indices) - indices.count(START) - indices.count(UNKNOWN),
            )
        return response

    def _predict(self, vectors: np.ndarray) -> np.ndarray:
        output: np.ndarray = self._model.predict(vectors, verbose=0)
        return np.hstack([1 - output, output]) if output.shape[1] == 1 else output


def main() -> None:
    """Serves until it is ended."""
    server = grpc.server(ThreadPoolExecutor(THREADS))
    folder, port = sys.argv[1:]
    pb2_grpc.add_TextClassifierServicer_to_server(KerasServicer(VersionFolder(Path(folder))), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
