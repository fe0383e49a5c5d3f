"""The JSON bodies of the HTTP routes, and their conversion to and from protobuf messages.

The OpenAPI document is built from these types, and shows their docstrings.
"""

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from service.errors import InvalidArgument
from service.grpc.open_inference_servicer import ABSTAINED, OUTPUTS
from service.grpc.stubs import open_inference_pb2 as inference
from service.http.binary_tensors import SIZE
from service.http.json_errors import invalid_json
from service.inference.abstention import MIN_PROBABILITY, USE_THRESHOLDS
from text_classifier.v1 import text_classifier_pb2 as contract

Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
# Kept as bytes until their length is checked: a hostile body could hold millions of elements.
Shape = Annotated[Raw, Meta(extra_json_schema={"type": "array", "items": {"type": "integer"}})]
# Generated clients take an object as empty unless the document says that it is open.
Open = Meta(extra_json_schema={"type": "object", "additionalProperties": True})
Parameters = Annotated[Raw, Open]
_MAX_RAW_BYTES = 1024

_T = TypeVar("_T")
# For the document only: the servicers validate this for every protocol.
AtLeastOne = Meta(extra_json_schema={"minItems": 1})
One = Meta(extra_json_schema={"minItems": 1, "maxItems": 1})
EachOnce = Meta(extra_json_schema={"uniqueItems": True})


def _one_of(*values: str) -> Meta:
    return Meta(extra_json_schema={"enum": values})


class ClassifyRequest(Struct, forbid_unknown_fields=True):
    """Texts to classify with one model; see `text_classifier.v1.ClassifyRequest`."""

    texts: Annotated[list[str], AtLeastOne]
    version: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    explain: bool = False
    min_probability: Annotated[float, Meta(ge=0, le=1)] = 0
    use_thresholds: bool = False
    texts_field: ClassVar[str] = "texts"

    def all_texts(self) -> Iterable[str]:
        """Returns the texts, which errors call `texts_field`."""
        return self.texts

    def message(self, model: str) -> contract.ClassifyRequest:
        """Returns the contract's message."""
        return contract.ClassifyRequest(
            model=model,
            version=self.version,
            texts=self.texts,
            top_k=self.top_k,
            explain=self.explain,
            min_probability=self.min_probability,
            use_thresholds=self.use_thresholds,
        )


class LabelScore(Struct):
    """A label and its probability, 0 to 1."""

    label: str
    probability: float


class WordContribution(Struct):
    """A word's contribution to the winning label's logit, and its position in code points."""

    word: str
    start: int
    end: int
    known: bool
    contribution: float


class Explanation(Struct):
    """The winning label's logit as a sum over the words; see `text_classifier.v1.Explanation`."""

    bias: float
    words: list[WordContribution]


class Classification(Struct):
    """The classification of one text; see `text_classifier.v1.Classification`."""

    label: str
    probability: float
    scores: list[LabelScore]
    words: int
    known_words: int
    abstained: bool
    explanation: Explanation | UnsetType = UNSET


class ClassifyResponse(Struct):
    """One classification for each text, in the order of the request."""

    model: str
    version: int
    classifications: list[Classification]

    @classmethod
    def of(cls, message: contract.ClassifyResponse) -> "ClassifyResponse":
        """Converts the contract's message."""
        return cls(message.model, message.version, [_classification(each) for each in message.classifications])


def _classification(message: contract.Classification) -> Classification:
    scores = [LabelScore(score.label, score.probability) for score in message.scores]
    converted = Classification(
        message.label, message.probability, scores, message.words, message.known_words, message.abstained
    )
    if message.HasField("explanation"):
        words = [
            WordContribution(word.word, word.start, word.end, word.known, word.contribution)
            for word in message.explanation.words
        ]
        converted.explanation = Explanation(message.explanation.bias, words)
    return converted


class Shadow(Struct):
    """What a shadow version has been compared on; see `text_classifier.v1.Shadow`."""

    texts: int
    agreements: int


class Model(Struct):
    """One version of a model; see `text_classifier.v1.Model`."""

    name: str
    version: int
    state: str
    state_reason: str
    in_service: bool
    labels: list[str]
    vocabulary_size: int
    trained_on: str
    test_accuracy: float
    engine: str
    thresholds: list[float]
    target_precision: float
    shadow: Shadow | UnsetType = UNSET

    @classmethod
    def of(cls, message: contract.Model) -> "Model":
        """Converts the contract's message."""
        shadow = Shadow(message.shadow.texts, message.shadow.agreements) if message.HasField("shadow") else UNSET
        return cls(
            name=message.name,
            version=message.version,
            state=contract.Model.State.Name(message.state),
            state_reason=message.state_reason,
            in_service=message.in_service,
            labels=list(message.labels),
            vocabulary_size=message.vocabulary_size,
            trained_on=message.trained_on,
            test_accuracy=message.test_accuracy,
            engine=message.engine,
            thresholds=list(message.thresholds),
            target_precision=message.target_precision,
            shadow=shadow,
        )


class Server(Struct):
    """The server's version and gRPC transport; see `text_classifier.v1.Server`."""

    version: str
    transport: str


class Models(Struct):
    """All versions of all models, and the server that has them."""

    models: list[Model]
    server: Server

    @classmethod
    def of(cls, message: contract.ListModelsResponse) -> "Models":
        """Converts the contract's message."""
        server = Server(message.server.version, message.server.transport)
        return cls([Model.of(model) for model in message.models], server)


class Status(Struct):
    """`google.rpc.Status`: `code` is the HTTP status, `status` the name of the gRPC status code."""

    code: int
    message: str
    status: str
    details: list[Annotated[dict[str, Any], Open]]


class Error(Struct):
    """An error."""

    error: Status


class InferenceError(Struct):
    """An error in the form of the Open Inference Protocol."""

    error: str


class InputTensor(Struct):
    """The tensor `text`: BYTES of shape [n] or [n, 1]. `data` is flat, or nested like the shape.

    `data` is empty if the texts follow the JSON as raw bytes.
    """

    name: Annotated[str, _one_of("text")]
    datatype: Annotated[str, _one_of("BYTES")]
    shape: Shape
    data: list[str | Annotated[list[str], Meta(min_length=1)]] = field(default_factory=list)
    parameters: Parameters | UnsetType = UNSET


class RequestedOutput(Struct):
    """A requested tensor."""

    name: Annotated[str, _one_of(*OUTPUTS, ABSTAINED)]
    parameters: Parameters | UnsetType = UNSET


class InferenceRequest(Struct):
    """Texts to classify; see `inference.ModelInferRequest`."""

    inputs: Annotated[list[InputTensor], One]
    outputs: Annotated[list[RequestedOutput], EachOnce] = field(default_factory=list)
    id: str = ""
    parameters: Parameters | UnsetType = UNSET
    texts_field: ClassVar[str] = "text"
    hints: ClassVar[dict[str, str]] = {"data": "send texts, as the datatype BYTES"}

    def all_texts(self) -> Iterable[str]:
        """Yields the texts, which errors call `texts_field`."""
        for tensor in self.inputs:
            yield from _flat(tensor.data)

    def message(self, model: str, version: str, binary: bytes) -> inference.ModelInferRequest:
        """Returns the protocol's message for the JSON and the raw bytes after it."""
        made = inference.ModelInferRequest(model_name=model, model_version=version, id=self.id)
        given = _decoded(self.parameters, dict[str, Raw], "parameters")
        for name in given.keys() & {MIN_PROBABILITY, USE_THRESHOLDS}:
            value = _decoded(given[name], bool | float, f"parameters[{name!r}]")  # type: ignore[arg-type]
            setattr(made.parameters[name], "bool_param" if isinstance(value, bool) else "double_param", value)
        for index, tensor in enumerate(self.inputs):
            contents = inference.InferTensorContents(bytes_contents=map(str.encode, _flat(tensor.data)))
            shape = _decoded(tensor.shape, list[Int64], f"inputs[{index}].shape")
            made.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=shape, contents=contents)
        for index, output in enumerate(self.outputs):
            # The servicer looks for names alone.
            values = _decoded(output.parameters, dict[str, Raw], f"outputs[{index}].parameters")
            parameters = dict.fromkeys(values, inference.InferParameter())
            made.outputs.add(name=output.name, parameters=parameters)
        if binary:
            made.raw_input_contents.append(binary)
        return made


def _decoded(raw: Raw | UnsetType, kind: type[_T], name: str) -> _T:
    if raw is UNSET:
        return kind()
    if len(raw) > _MAX_RAW_BYTES:
        raise InvalidArgument(name, f"is longer than {_MAX_RAW_BYTES} bytes")
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid_json(error, kind, name) from error


def _flat(data: Iterable[str | list[str]]) -> Iterable[str]:
    for item in data:
        yield from [item] if isinstance(item, str) else item


class OutputTensor(Struct):
    """A tensor of the response: flat data in row-major order, or the length of its raw bytes after the JSON."""

    name: str
    datatype: str
    shape: list[int]
    data: list[str | float | bool] | UnsetType = UNSET
    parameters: dict[str, int] | UnsetType = UNSET


class InferenceResponse(Struct):
    """The classifications of the texts, as tensors."""

    model_name: str
    model_version: str
    id: str
    outputs: list[OutputTensor]

    @classmethod
    def of(cls, message: inference.ModelInferResponse) -> "InferenceResponse":
        """Converts the protocol's message, without its raw contents."""
        tensors = [OutputTensor(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in message.outputs]
        if message.raw_output_contents:
            for tensor, raw in zip(tensors, message.raw_output_contents, strict=True):
                tensor.parameters = {SIZE: len(raw)}
        else:
            for tensor, output in zip(tensors, message.outputs, strict=True):
                tensor.data = [text.decode() for text in output.contents.bytes_contents]
                tensor.data += output.contents.fp32_contents  # a tensor has one of the three
                tensor.data += output.contents.bool_contents
        return cls(message.model_name, message.model_version, message.id, tensors)


class TensorMetadata(Struct):
    """Name, type and shape of a tensor; -1 stands for the number of texts."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(Struct):
    """The input and output tensors of a model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]

    @classmethod
    def of(cls, message: inference.ModelMetadataResponse) -> "ModelMetadata":
        """Converts the protocol's message."""
        inputs, outputs = (
            [TensorMetadata(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in tensors]
            for tensors in (message.inputs, message.outputs)
        )
        return cls(message.name, list(message.versions), message.platform, inputs, outputs)


class ServerMetadata(Struct):
    """Name, version and extensions of the server."""

    name: str
    version: str
    extensions: list[str]


class ServerLive(Struct):
    """Whether the server runs."""

    live: bool


class ServerReady(Struct):
    """Whether the server serves."""

    ready: bool


class ModelReady(Struct):
    """Whether a model answers requests."""

    name: str
    ready: bool
