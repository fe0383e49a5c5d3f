"""The signature of the SavedModel that training exports. Any server of SavedModels can call it."""

from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from textmodel.errors import ModelError, SignatureError

SIGNATURE = "serving_default"
TEXT = "text"
"""Input, string (batch,): UTF-8 texts."""
PROBABILITIES = "probabilities"
"""Output, float32 (batch, classes)."""
WORDS = "words"
"""Output, int32 (batch,): number of words in each text."""
KNOWN_WORDS = "known_words"
"""Output, int32 (batch,): number of words in each text that the model knows."""

# tensorflow/core/framework/types.proto
_FLOAT, _INT32, _STRING = 1, 3, 7

# Data type and number of dimensions.
_INPUTS = {TEXT: (_STRING, 1)}
_OUTPUTS = {PROBABILITIES: (_FLOAT, 2), WORDS: (_INT32, 1), KNOWN_WORDS: (_INT32, 1)}

# The fields that the check reads, from tensorflow/core/protobuf/saved_model.proto and meta_graph.proto, and from
# tensorflow/core/framework/tensor_shape.proto: number, type, and whether it is repeated. A map is a repeated message of
# key and value.
_FIELDS = {
    "SavedModel": {"meta_graphs": (2, "MetaGraph", True)},
    "MetaGraph": {"signatures": (5, "NamedSignature", True)},
    "NamedSignature": {"key": (1, "string", False), "value": (2, "Signature", False)},
    "Signature": {"inputs": (1, "NamedTensor", True), "outputs": (2, "NamedTensor", True)},
    "NamedTensor": {"key": (1, "string", False), "value": (2, "Tensor", False)},
    "Tensor": {"dtype": (2, "int32", False), "shape": (3, "Shape", False)},
    "Shape": {"dim": (2, "Dim", True), "unknown_rank": (3, "bool", False)},
    "Dim": {},
}


def check(version: Path) -> None:
    """Checks that a version's SavedModel has this signature, without TensorFlow.

    Raises:
        SignatureError: the SavedModel has another signature, or none.
        ModelError: there is no SavedModel, or it is damaged.
    """
    path = version / "saved_model.pb"
    try:
        saved_model = _saved_model().FromString(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    except message.DecodeError as error:
        raise ModelError(f"{path}: {error}") from error
    signatures = {entry.key: entry.value for graph in saved_model.meta_graphs for entry in graph.signatures}
    found = signatures.get(SIGNATURE)
    if found is None:
        raise SignatureError(f"{version}: has no signature {SIGNATURE!r}")
    if (_tensors(found.inputs), _tensors(found.outputs)) != (_INPUTS, _OUTPUTS):
        raise SignatureError(
            f"{version}: the signature {SIGNATURE!r} is not text: string[batch] -> probabilities:"
            " float32[batch, classes], words: int32[batch], known_words: int32[batch]"
        )


def _tensors(entries: Any) -> dict[str, tuple[int, int | None]]:
    """Returns the data type and the number of dimensions of each input or output."""
    return {entry.key: (entry.value.dtype, _rank(entry.value.shape)) for entry in entries}


def _rank(shape: Any) -> int | None:
    return None if shape.unknown_rank else len(shape.dim)


@cache
def _saved_model() -> Any:
    """Returns the message class of a SavedModel, with only the fields of `_FIELDS`."""
    field_type = descriptor_pb2.FieldDescriptorProto
    scalars = {"string": field_type.TYPE_STRING, "int32": field_type.TYPE_INT32, "bool": field_type.TYPE_BOOL}
    file = descriptor_pb2.FileDescriptorProto(name="saved_model.proto", package="textmodel", syntax="proto3")
    for name, fields in _FIELDS.items():
        described = file.message_type.add(name=name)
        for field, (number, kind, repeated) in fields.items():
            described.field.add(
                name=field,
                number=number,
                label=field_type.LABEL_REPEATED if repeated else field_type.LABEL_OPTIONAL,
                type=scalars.get(kind, field_type.TYPE_MESSAGE),
                type_name=None if kind in scalars else f".textmodel.{kind}",
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("textmodel.SavedModel"))
