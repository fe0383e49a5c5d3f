"""The SavedModel signature that training exports and every server of SavedModels can call."""

from pathlib import Path

from textmodel.errors import ModelError, SignatureError
from textmodel.wire import MalformedError, Message

SIGNATURE = "serving_default"
TEXT = "text"
"""Input, string (batch,): UTF-8 texts."""
PROBABILITIES = "probabilities"
"""Output, float32 (batch, classes)."""
WORDS = "words"
"""Output, int32 (batch,): words in each text."""
KNOWN_WORDS = "known_words"
"""Output, int32 (batch,): how many of them the vocabulary holds."""

# tensorflow/core/framework/types.proto
_FLOAT, _INT32, _STRING = 1, 3, 7

# Data type and number of dimensions.
_INPUTS = {TEXT: (_STRING, 1)}
_OUTPUTS = {PROBABILITIES: (_FLOAT, 2), WORDS: (_INT32, 1), KNOWN_WORDS: (_INT32, 1)}


def check(version: Path) -> None:
    """Checks that a version's SavedModel has this signature, without TensorFlow.

    Field numbers are those of tensorflow/core/protobuf/saved_model.proto and meta_graph.proto.

    Raises:
        SignatureError: it has not.
        ModelError: there is no SavedModel, or it is damaged.
    """
    path = version / "saved_model.pb"
    try:
        graphs = Message(path.read_bytes()).messages(2)
        signatures = {name: signature for graph in graphs for name, signature in graph.map(5).items()}
        found = signatures.get(SIGNATURE.encode())
        right = found and (_tensors(found, 1), _tensors(found, 2)) == (_INPUTS, _OUTPUTS)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    except MalformedError as error:
        raise ModelError(f"{path}: {error}") from error
    if not found:
        raise SignatureError(f"{version}: has no signature {SIGNATURE!r}")
    if not right:
        raise SignatureError(
            f"{version}: the signature {SIGNATURE!r} is not text: string[batch] -> probabilities:"
            " float32[batch, classes], words: int32[batch], known_words: int32[batch]"
        )


def _tensors(signature: Message, field: int) -> dict[str, tuple[int, int | None]]:
    """Returns data type and number of dimensions of each input or output."""
    return {
        name.decode(errors="replace"): (tensor.number(2), _rank(next(tensor.messages(3), Message(b""))))
        for name, tensor in signature.map(field).items()
    }


def _rank(shape: Message) -> int | None:
    return None if shape.number(3) else len(list(shape.messages(2)))
