"""Implements the Open Inference Protocol: a tensor of texts in, tensors of labels and probabilities out.

Errors are raised as exceptions, which `service.grpc.status` maps.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from importlib.metadata import version as installed_version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidArgument, NotReady, shortened
from service.grpc.health import HealthServicer
from service.grpc.stubs import open_inference_pb2 as pb2
from service.grpc.stubs import open_inference_pb2_grpc as pb2_grpc
from service.inference.abstention import MIN_PROBABILITY, USE_THRESHOLDS, abstention_thresholds
from service.inference.classification import ClassificationService, deadline_of
from service.inference.repository import ModelRepository
from service.inference.servable import Answer, Servable

SERVICE = pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name

TEXT = "text"
OUTPUTS = ("label", "probability", "probabilities")
"""The default outputs, for a request that names none."""
ABSTAINED = "abstained"
"""An output that is a default only if the request has a parameter for abstention."""
PLATFORM = "tensorflow_savedmodel"

_PACKAGE = "text-classifier"
_LENGTH_BYTES = 4
_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_BINARY_TENSORS = "binary_tensor_data"
"""The protocol's extension for raw tensors after the JSON of an HTTP body."""
_EXTENSIONS = ("classification", "shared_memory_region")
"""Output parameters that request another form, which this server does not implement."""


class OpenInferenceServicer(pb2_grpc.GRPCInferenceServiceServicer):
    """Implements `inference.GRPCInferenceService`.

    Args:
        repository: the repository of the models.
        classification: validates and queues requests.
        health: tells whether the server serves.
    """

    def __init__(
        self, repository: ModelRepository, classification: ClassificationService, health: HealthServicer
    ) -> None:
        self._repository = repository
        self._classification = classification
        self._health = health
        self._metadata = pb2.ServerMetadataResponse(
            name=_PACKAGE, version=installed_version(_PACKAGE), extensions=[_BINARY_TENSORS]
        )

    async def ServerLive(self, request: pb2.ServerLiveRequest, context: Any) -> pb2.ServerLiveResponse:
        """Tells that the server runs."""
        return pb2.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb2.ServerReadyRequest, context: Any) -> pb2.ServerReadyResponse:
        """Tells whether the server serves."""
        return pb2.ServerReadyResponse(ready=self._health.serving)

    async def ModelReady(self, request: pb2.ModelReadyRequest, context: Any) -> pb2.ModelReadyResponse:
        """Tells whether a model answers requests."""
        number = _version("version", request.version)
        try:
            known = self._repository.find(request.name, number, "name")
        except NotReady:
            return pb2.ModelReadyResponse(ready=False)
        return pb2.ModelReadyResponse(ready=known.servable is not None)

    async def ServerMetadata(self, request: pb2.ServerMetadataRequest, context: Any) -> pb2.ServerMetadataResponse:
        """Describes the server."""
        return self._metadata

    async def ModelMetadata(self, request: pb2.ModelMetadataRequest, context: Any) -> pb2.ModelMetadataResponse:
        """Describes the tensors of a model."""
        servable = self._repository.get(request.name, _version("version", request.version), "name")
        available = (known for known in self._repository.list() if known.name == servable.name and known.servable)
        response = pb2.ModelMetadataResponse(
            name=servable.name, versions=[str(known.version) for known in available], platform=PLATFORM
        )
        response.inputs.add(name=TEXT, datatype="BYTES", shape=[-1])
        response.outputs.add(name="label", datatype="BYTES", shape=[-1])
        response.outputs.add(name="probability", datatype="FP32", shape=[-1])
        response.outputs.add(name="probabilities", datatype="FP32", shape=[-1, len(servable.labels)])
        response.outputs.add(name=ABSTAINED, datatype="BOOL", shape=[-1])
        return response

    async def ModelInfer(self, request: pb2.ModelInferRequest, context: Any) -> pb2.ModelInferResponse:
        """Classifies the texts of the tensor `text`."""
        version = _version("model_version", request.model_version)
        min_probability = _number_of(request, MIN_PROBABILITY)
        use_thresholds = _truth_of(request, USE_THRESHOLDS)
        thresholds = abstention_thresholds(
            self._repository, request.model_name, version, min_probability, use_thresholds, model_field="model_name"
        )
        wanted = _wanted(request.outputs) or (OUTPUTS if thresholds is None else (*OUTPUTS, ABSTAINED))
        texts = self._texts(request)
        pending = self._classification.begin(
            request.model_name,
            version,
            texts,
            size=request.ByteSize(),
            deadline=deadline_of(context),
            field=TEXT,
            model_field="model_name",
        )
        servable, answer = pending.servable, await pending.answer()
        response = pb2.ModelInferResponse(model_name=servable.name, model_version=str(servable.version), id=request.id)
        for name in wanted:
            values = _abstained(answer, thresholds) if name == ABSTAINED else _tensor(name, servable, answer)
            _add(response, name, values, raw=bool(request.raw_input_contents))
        return response

    def _texts(self, request: pb2.ModelInferRequest) -> list[str]:
        """Reads the tensor `text`.

        Raises:
            InvalidArgument: the tensor is missing, or its name, type, shape or contents are wrong.
        """
        if len(request.inputs) != 1:
            raise InvalidArgument("inputs", f"holds {len(request.inputs)} tensors; send one, {TEXT!r}")
        tensor, raw = request.inputs[0], request.raw_input_contents
        if tensor.name != TEXT:
            raise InvalidArgument(
                "inputs[0].name", f"{shortened(tensor.name)!r} is not an input; the only input is {TEXT!r}"
            )
        if tensor.datatype != "BYTES":
            raise InvalidArgument(
                "inputs[0].datatype", f"{shortened(tensor.datatype)!r} is not supported: send texts, as 'BYTES'"
            )
        count, *rest = tensor.shape or [-1]
        if rest not in ([], [1]) or count < 0:
            raise InvalidArgument("inputs[0].shape", "is not [n] or [n, 1]")
        self._classification.check_count(count, TEXT)
        if raw and (len(raw) > 1 or tensor.contents.ByteSize()):  # MLServer sends empty contents beside raw ones
            raise InvalidArgument(
                "raw_input_contents",
                "replaces the contents of the tensor: send one element and empty contents, or none",
            )
        values = _split(raw[0], count) if raw else tensor.contents.bytes_contents
        if len(values) != count:
            raise InvalidArgument("inputs[0].shape", f"is for {count} texts, but the contents hold {len(values)}")
        return _decoded(values)


def _version(field: str, text: str) -> int:
    """Reads a version. Returns 0, the version in service, for an empty text.

    Raises:
        InvalidArgument: the text is not a version.
    """
    if not text:
        return 0
    if not _VERSION.fullmatch(text):
        raise InvalidArgument(
            field, f"{shortened(text)!r} is not a version: send a positive integer, or leave it empty"
        )
    return int(text)


def _wanted(outputs: Collection[pb2.ModelInferRequest.InferRequestedOutputTensor]) -> Sequence[str]:
    """Returns the names of the requested outputs: empty if the request names none.

    Raises:
        InvalidArgument: an output does not exist, is requested twice, or in a form that is not implemented.
    """
    names: list[str] = []
    for index, output in enumerate(outputs):
        if output.name not in (*OUTPUTS, ABSTAINED):
            known = ", ".join(map(repr, (*OUTPUTS, ABSTAINED)))
            raise InvalidArgument(
                f"outputs[{index}].name", f"{shortened(output.name)!r} is not an output; the outputs are {known}"
            )
        if output.name in names:
            raise InvalidArgument(f"outputs[{index}].name", f"{output.name!r} is requested twice")
        for extension in _EXTENSIONS:
            if extension in output.parameters:
                raise InvalidArgument(f"outputs[{index}].parameters", f"the extension {extension!r} is not implemented")
        names.append(output.name)
    return names


def _number_of(request: pb2.ModelInferRequest, name: str) -> float:
    """Reads a numeric parameter; 0 if it is missing.

    Raises:
        InvalidArgument: it is not a number.
    """
    match _parameter(request, name):
        case None:
            return 0
        case bool() | str():
            raise InvalidArgument(f"parameters[{name!r}]", "is not a number: send one from 0 to 1")
        case number:
            return number


def _truth_of(request: pb2.ModelInferRequest, name: str) -> bool:
    """Reads a boolean parameter; false if it is missing.

    Raises:
        InvalidArgument: it is not a boolean.
    """
    value = _parameter(request, name)
    if not isinstance(value, bool | None):
        raise InvalidArgument(f"parameters[{name!r}]", "is not a boolean: send true or false")
    return bool(value)


def _parameter(request: pb2.ModelInferRequest, name: str) -> bool | float | str | None:
    if name not in request.parameters:
        return None
    parameter = request.parameters[name]
    kind = parameter.WhichOneof("parameter_choice")
    value: bool | float | str | None = getattr(parameter, kind) if kind else None
    return value


def _abstained(answer: Answer, thresholds: Sequence[float] | None) -> NDArray[np.bool_]:
    if thresholds is None:
        return np.zeros(len(answer.winners), np.bool_)
    return np.array(answer.winning) < np.array(thresholds)[answer.winners]


def _split(raw: bytes, limit: int) -> list[bytes]:
    """Splits raw BYTES into values, and stops after `limit` + 1 of them.

    Raises:
        InvalidArgument: the bytes end in the middle of a value.
    """
    values: list[bytes] = []
    at = 0
    while at < len(raw) and len(values) <= limit:
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(raw[at:start], "little")
        if at > len(raw):
            raise InvalidArgument(
                "raw_input_contents[0]",
                "ends in the middle of a text; before each text comes its length, as 4 bytes in little-endian order",
            )
        values.append(raw[start:at])
    return values


def _decoded(values: Iterable[bytes]) -> list[str]:
    texts: list[str] = []
    for value in values:
        try:
            texts.append(value.decode())
        except UnicodeDecodeError as error:
            raise InvalidArgument(f"{TEXT}[{len(texts)}]", "is not UTF-8") from error
    return texts


def _tensor(name: str, servable: Servable, answer: Answer) -> list[bytes] | NDArray[np.float32]:
    """Returns the values of an output: a list for a BYTES tensor, an array for an FP32 tensor."""
    match name:
        case "label":
            return [servable.labels[winner].encode() for winner in answer.winners]
        case "probability":
            return np.array(answer.winning, np.float32)
        case _:
            return answer.probabilities


def _add(
    response: pb2.ModelInferResponse,
    name: str,
    values: list[bytes] | NDArray[np.float32] | NDArray[np.bool_],
    *,
    raw: bool,
) -> None:
    if isinstance(values, list):
        tensor = response.outputs.add(name=name, datatype="BYTES", shape=[len(values)])
        if raw:
            response.raw_output_contents.append(
                b"".join(len(value).to_bytes(_LENGTH_BYTES, "little") + value for value in values)
            )
        else:
            tensor.contents.bytes_contents.extend(values)
    elif values.dtype == np.bool_:
        tensor = response.outputs.add(name=name, datatype="BOOL", shape=values.shape)
        if raw:
            response.raw_output_contents.append(values.tobytes())
        else:
            tensor.contents.bool_contents.extend(values.tolist())
    else:
        tensor = response.outputs.add(name=name, datatype="FP32", shape=values.shape)
        if raw:
            response.raw_output_contents.append(values.astype("<f4", copy=False).tobytes())
        else:
            tensor.contents.fp32_contents.extend(values.ravel().tolist())
