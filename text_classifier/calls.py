"""What the synchronous and the asyncio client have in common: how a channel is set up, and protobuf in and out."""

import json
from collections.abc import Iterable

from text_classifier.results import Classification, LabelScore, Model, State
from text_classifier.v1 import text_classifier_pb2 as pb2

DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_TIMEOUT = 10.0
"""Seconds that a call may take, its retries included."""

SERVICE = pb2.DESCRIPTOR.services_by_name["TextClassifier"].full_name

# Five attempts are the most that gRPC makes. Between them it waits a random time up to the back-off.
_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{"service": SERVICE}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}

CHANNEL_OPTIONS = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # A response of many texts and scores can be larger than gRPC's default of 4 MiB; the server bounds the request.
    ("grpc.max_receive_message_length", -1),
)


def classify_request(texts: Iterable[str], model: str, version: int, top_k: int) -> pb2.ClassifyRequest:
    """Builds the request.

    Raises:
        TypeError: `texts` is a single string, which would be classified letter by letter.
        ValueError: a text holds a lone surrogate, which UTF-8 cannot carry.
    """
    if isinstance(texts, str):
        raise TypeError("texts is a single string: pass a list of texts")
    return pb2.ClassifyRequest(model=model, version=version, texts=texts, top_k=top_k)


def classifications(response: pb2.ClassifyResponse) -> list[Classification]:
    """Converts a response, in order."""
    return [
        Classification(
            answer.label,
            answer.probability,
            tuple(LabelScore(score.label, score.probability) for score in answer.scores),
            answer.words,
            answer.known_words,
            response.model,
            response.version,
        )
        for answer in response.classifications
    ]


def model(message: pb2.Model) -> Model:
    """Converts a model."""
    return Model(
        message.name,
        message.version,
        State(message.state),
        message.state_reason,
        message.in_service,
        tuple(message.labels),
        message.vocabulary_size,
        message.trained_on,
        message.test_accuracy,
        message.engine,
    )
