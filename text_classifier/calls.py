"""What the synchronous and the asyncio client have in common: how a channel is set up, and protobuf in and out."""

import json
import re
from collections.abc import Iterable

from text_classifier.results import Classification, Explanation, LabelScore, Model, Shadow, State, WordContribution
from text_classifier.v1 import text_classifier_pb2 as pb2

DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_TIMEOUT = 10.0
"""Seconds that a call may take, its retries included."""
UNANSWERED_TEXTS = 1024
"""How many texts a stream sends ahead of their answers: bounds the memory of both sides, whatever the texts' source."""

SERVICE = pb2.DESCRIPTOR.services_by_name["TextClassifier"].full_name
"""The full name of the service, as health, reflection and service configs know it."""

# Five attempts are the most that gRPC makes. Between them it waits a random time up to the back-off.
_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    # Retries stop while more than half of the calls fail: they would only add to what a server cannot carry.
    "retryThrottling": {"maxTokens": 1000, "tokenRatio": 0.1},
    "methodConfig": [
        {
            "name": [{"service": SERVICE}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                # A server that stops answers CANCELLED to calls that have reached it and that it has not begun.
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
}

CHANNEL_OPTIONS = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # A response of many texts and scores can be larger than gRPC's default of 4 MiB; the server bounds the request.
    ("grpc.max_receive_message_length", -1),
    # gRPC keeps a request to try it again, but by default gives up on those over 256 KiB: keep any.
    ("grpc.per_rpc_retry_buffer_size", 2**31 - 1),
)


Metadata = tuple[tuple[str, str], ...]

TOKEN = re.compile(r"[\x21-\x7e]+")
"""What a bearer token is made of: visible ASCII characters."""
_THIS_MACHINE = re.compile(r"(dns:(///)?|ipv4:|ipv6:)?(localhost|127(\.\d+){3}|\[::1\])(:\d+)?|unix(-abstract)?:.*")


def metadata(token: str | None, address: str, encrypted: bool) -> Metadata | None:
    """Builds the metadata of every call.

    Not `grpc.access_token_call_credentials`: gRPC would refuse it on the loopback interface, too.

    Raises:
        ValueError: the token cannot be sent, or would leave this machine unencrypted.
    """
    if token is None:
        return None
    if not TOKEN.fullmatch(token):
        raise ValueError("a token is visible ASCII characters, without spaces")
    if not encrypted and not _THIS_MACHINE.fullmatch(address):
        raise ValueError("a token would be sent unencrypted: use TLS to a server that is not on this machine")
    return (("authorization", f"Bearer {token}"),)


def classify_request(
    texts: Iterable[str],
    model: str,
    version: int,
    top_k: int,
    *,
    explain: bool,
    min_probability: float,
    use_thresholds: bool,
) -> pb2.ClassifyRequest:
    """Builds the request.

    Raises:
        TypeError: `texts` is a single string.
        ValueError: a text holds a lone surrogate, which UTF-8 cannot carry; a number does not fit its field.
    """
    refuse_single_string(texts)
    return pb2.ClassifyRequest(
        model=model,
        version=version,
        texts=texts,
        top_k=top_k,
        explain=explain,
        min_probability=min_probability,
        use_thresholds=use_thresholds,
    )


def refuse_single_string(texts: object) -> None:
    """Raises TypeError if `texts` is a string, which would be classified letter by letter."""
    if isinstance(texts, str):
        raise TypeError("texts is a single string: pass a list of texts")


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
            _explanation(answer.explanation) if answer.HasField("explanation") else None,
            answer.abstained,
        )
        for answer in response.classifications
    ]


def _explanation(message: pb2.Explanation) -> Explanation:
    words = (WordContribution(word.word, word.start, word.end, word.known, word.contribution) for word in message.words)
    return Explanation(message.bias, tuple(words))


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
        Shadow(message.shadow.texts, message.shadow.agreements) if message.HasField("shadow") else None,
        tuple(message.thresholds),
        message.target_precision,
    )
