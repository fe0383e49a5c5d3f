"""The common part of the synchronous and the asyncio client: channel options, requests and responses."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from text_classifier.results import (
    Classification,
    Explanation,
    LabelScore,
    Model,
    ModelList,
    Server,
    Shadow,
    State,
    WordContribution,
)
from text_classifier.v1 import text_classifier_pb2 as pb2

DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_TIMEOUT = 10.0
"""Deadline of a call in seconds, retries included."""
UNANSWERED_TEXTS = 1024
"""Maximum number of texts that a stream sends ahead of their answers. Bounds the memory of both sides."""

SERVICE = pb2.DESCRIPTOR.services_by_name["TextClassifier"].full_name
"""Full name of the service, in health checks, reflection and service configs."""

# gRPC makes at most five attempts. Between them it waits a random time up to the back-off.
_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    # Retries stop while more than half of the calls fail: they would add to the overload.
    "retryThrottling": {"maxTokens": 1000, "tokenRatio": 0.1},
    "methodConfig": [
        {
            "name": [{"service": SERVICE}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                # A stopping server answers CANCELLED to calls that it has received but not started.
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
}

KEEPALIVE_SECONDS = 15
"""While a call waits, the client pings the server after this time of silence. The server allows a ping every 10 s."""
KEEPALIVE_ANSWER_SECONDS = 5
"""If the server does not answer the ping within this time, its calls fail, and are retried on another connection."""

CHANNEL_OPTIONS = (
    ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_ANSWER_SECONDS * 1000),
    # gRPC also pings to measure bandwidth. Until such a ping is answered, or times out, by default after a minute, it
    # sends no other ping.
    ("grpc.http2.ping_timeout_ms", KEEPALIVE_ANSWER_SECONDS * 1000),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # A response with many scores can exceed gRPC's default limit of 4 MiB. The server limits requests.
    ("grpc.max_receive_message_length", -1),
    # By default gRPC does not retry requests over 256 KiB.
    ("grpc.per_rpc_retry_buffer_size", 2**31 - 1),
)
_NO_PROXY = ("grpc.enable_http_proxy", 0)

Metadata = tuple[tuple[str, str], ...]

TOKEN = re.compile(r"[\x21-\x7e]+")
"""A bearer token: visible ASCII characters."""
_THIS_MACHINE = re.compile(r"(dns:(///)?|ipv4:|ipv6:)?(localhost|127(\.\d+){3}|\[::1\])(:\d+)?|unix(-abstract)?:.*")


def channel_options(address: str) -> tuple[tuple[str, str | int], ...]:
    """Returns the options of a channel to this address.

    Calls to this machine do not go through the proxy that `http_proxy` or a similar variable names: it would connect to
    its own machine, and read the token.
    """
    return (*CHANNEL_OPTIONS, _NO_PROXY) if _THIS_MACHINE.fullmatch(address) else CHANNEL_OPTIONS


def metadata(token: str | None, address: str, encrypted: bool) -> Metadata | None:
    """Returns the metadata of every call.

    `grpc.access_token_call_credentials` would not work: gRPC refuses it without TLS, even on the loopback interface.

    Raises:
        TypeError: the token is not a string.
        ValueError: the token has other characters, or would leave this machine unencrypted.
    """
    if token is None:
        return None
    if not isinstance(token, str):
        raise TypeError(f"token is {type(token).__name__}, not str")
    if not TOKEN.fullmatch(token):
        raise ValueError("a token consists of visible ASCII characters, without spaces")
    if not encrypted and not _THIS_MACHINE.fullmatch(address):
        raise ValueError("the token would leave this machine unencrypted: use TLS, --tls or --tls-ca in a shell")
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
    first: int = 0,
) -> pb2.ClassifyRequest:
    """Returns the request. `first` is the number of the first text, for errors.

    Raises:
        TypeError: `texts` is a single string, or contains something else than strings; or an argument has another type.
        ValueError: a text contains a lone surrogate, which UTF-8 cannot encode, or a number is out of range.
    """
    check_texts(texts)
    texts = list(texts)
    if set(map(type, texts)) != {str}:  # protobuf takes bytes too
        _check_strings(texts, first)
    if not isinstance(model, str):
        raise TypeError(f"model is {type(model).__name__}, not str")
    fields: dict[str, Any] = {
        "model": model,
        "version": version,
        "top_k": top_k,
        "explain": explain,
        "min_probability": min_probability,
        "use_thresholds": use_thresholds,
    }
    try:
        return pb2.ClassifyRequest(texts=texts, **fields)
    except (TypeError, ValueError):
        _check_fields(pb2.ClassifyRequest, fields)
        _check_encodable(texts, first)
        raise


def model_request(name: str, version: int) -> pb2.GetModelRequest:
    """Returns the request for the description of a model.

    Raises:
        TypeError: an argument has another type.
        ValueError: the name contains a lone surrogate, or the version is out of range.
    """
    if not isinstance(name, str):
        raise TypeError(f"name is {type(name).__name__}, not str")
    fields: dict[str, Any] = {"name": name, "version": version}
    try:
        return pb2.GetModelRequest(**fields)
    except (TypeError, ValueError):
        _check_fields(pb2.GetModelRequest, fields)
        raise


def check_texts(texts: object) -> None:
    """Raises TypeError if `texts` is not iterable, or is a string, which would be classified letter by letter."""
    if isinstance(texts, (str, bytes, bytearray)):
        raise TypeError("texts is a single string: pass a list of texts")
    if not (hasattr(texts, "__iter__") or hasattr(texts, "__aiter__")):  # quicker than the abstract classes
        raise TypeError(f"texts is {type(texts).__name__}: pass a list of texts")


def _check_strings(texts: Sequence[object], first: int) -> None:
    for number, text in enumerate(texts, first):
        if not isinstance(text, str):
            raise TypeError(f"texts[{number}] is {type(text).__name__}, not str")


def _check_encodable(texts: Sequence[str], first: int) -> None:
    for number, text in enumerate(texts, first):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"texts[{number}] contains a lone surrogate, which UTF-8 cannot encode") from None


_TYPES = {
    "model": "a str that UTF-8 can encode",
    "name": "a str that UTF-8 can encode",
    "version": "an int of 64 bits",
    "top_k": "an int of 32 bits",
    "explain": "a bool",
    "min_probability": "a float",
    "use_thresholds": "a bool",
}
"""The values that the fields of requests accept, for errors."""


def _check_fields(kind: Callable[..., Message], fields: Mapping[str, object]) -> None:
    """Raises an error that names the field that protobuf refuses. Protobuf's own error does not."""
    for name, value in fields.items():
        try:
            kind(**{name: value})
        except (TypeError, ValueError) as error:
            raised = TypeError if isinstance(error, TypeError) else ValueError
            shown = repr(value)
            raise raised(f"{name} is {shown if len(shown) <= 60 else shown[:60] + '…'}, not {_TYPES[name]}") from None


@dataclass
class StreamProgress:
    """The progress of a stream of texts."""

    sent: int = 0
    answered: int = 0
    all_sent: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether there are texts, and all of them are answered. Then it does not matter how the call ends."""
        return self.all_sent and 0 < self.sent == self.answered

    def locate(self, error: Any) -> None:
        """Notes on an error which text of the stream it is about. Each text has a request of its own."""
        if str(error.details()).startswith("texts[0]: "):
            error.add_note(f"texts[0] of this request is texts[{self.answered}] of the stream")


def classifications(response: pb2.ClassifyResponse) -> list[Classification]:
    """Converts a response."""
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


def models(response: pb2.ListModelsResponse) -> ModelList:
    """Converts a response."""
    server = Server(response.server.version, response.server.transport)
    return ModelList((model(message) for message in response.models), server)


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
