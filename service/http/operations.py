"""The operations of the HTTP routes. Each converts JSON to a request, calls a servicer, and converts the response.

A route calls the servicer in the same process, and so has the validation, limits, queue and errors of the RPC. A call
over gRPC would take longer than the classification, and would need a certificate and a token.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from google.protobuf.message import Message
from msgspec import Struct

from service.errors import NotReady
from service.grpc.open_inference_servicer import OpenInferenceServicer
from service.grpc.stubs import open_inference_pb2 as inference_pb2
from service.grpc.text_classifier_servicer import TextClassifierServicer
from service.http import schemas
from service.http.call import Call
from text_classifier.v1 import text_classifier_pb2 as pb2

_SHORT = 1024
"""Up to this size, a message is converted on the event loop, since starting a thread takes 50 us."""

_MessageT = TypeVar("_MessageT", bound=Message)
_StructT = TypeVar("_StructT", bound=Struct)


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    method: Literal["GET", "POST"]
    path: str
    takes: type[Struct] | None
    """The type of the request's body; None if it has no body."""
    gives: type[Any]
    """The type of the response's body."""
    respond: Callable[[Call, Mapping[str, str], Any], Coroutine[Any, Any, Any]]
    """Answers a request, given the call, the path parameters and the body. Its docstring is the OpenAPI summary."""
    open: bool = False
    """Whether calls need no token."""


class Operations:
    """The operations over two servicers."""

    def __init__(self, servicer: TextClassifierServicer, inference: OpenInferenceServicer) -> None:
        self._servicer = servicer
        self._inference = inference

    def all(self) -> list[Operation]:
        """Returns the operations in the order of the OpenAPI document."""
        model = "/v2/models/{model:name}"
        version = f"{model}/versions/{{version:name}}"
        return [
            Operation(
                "POST",
                "/v1/models/{model:name}:classify",
                schemas.ClassifyRequest,
                schemas.ClassifyResponse,
                self.classify,
            ),
            Operation("GET", "/v1/models", None, schemas.Models, self.list_models),
            Operation("GET", "/v1/models/{model:name}", None, schemas.Model, self.get_model),
            Operation("GET", "/v2", None, schemas.ServerMetadata, self.server_metadata),
            Operation("GET", "/v2/health/live", None, schemas.ServerLive, self.server_live, open=True),
            Operation("GET", "/v2/health/ready", None, schemas.ServerReady, self.server_ready, open=True),
            *(
                operation
                for path in (model, version)
                for operation in (
                    Operation("GET", path, None, schemas.ModelMetadata, self.model_metadata),
                    Operation("GET", f"{path}/ready", None, schemas.ModelReady, self.model_ready),
                    Operation("POST", f"{path}/infer", schemas.InferenceRequest, schemas.InferenceResponse, self.infer),
                )
            ),
        ]

    async def classify(
        self, call: Call, path: Mapping[str, str], body: schemas.ClassifyRequest
    ) -> schemas.ClassifyResponse:
        """Classifies texts."""
        response = await self._servicer.Classify(body.message(path["model"]), call)
        return await _converted(schemas.ClassifyResponse.of, response)

    async def list_models(self, call: Call, path: Mapping[str, str], body: None) -> schemas.Models:
        """Lists the model versions that the server knows."""
        return schemas.Models.of(await self._servicer.ListModels(pb2.ListModelsRequest(), call))

    async def get_model(self, call: Call, path: Mapping[str, str], body: None) -> schemas.Model:
        """Describes the version of a model that is in service."""
        return schemas.Model.of(await self._servicer.GetModel(pb2.GetModelRequest(name=path["model"]), call))

    async def server_metadata(self, call: Call, path: Mapping[str, str], body: None) -> schemas.ServerMetadata:
        """Describes the server."""
        answer = await self._inference.ServerMetadata(inference_pb2.ServerMetadataRequest(), call)
        return schemas.ServerMetadata(answer.name, answer.version, list(answer.extensions))

    async def server_live(self, call: Call, path: Mapping[str, str], body: None) -> schemas.ServerLive:
        """Reports that the server runs."""
        answer = await self._inference.ServerLive(inference_pb2.ServerLiveRequest(), call)
        return schemas.ServerLive(answer.live)

    async def server_ready(self, call: Call, path: Mapping[str, str], body: None) -> schemas.ServerReady:
        """Reports whether the server serves: 200, otherwise 503."""
        if not (await self._inference.ServerReady(inference_pb2.ServerReadyRequest(), call)).ready:
            raise NotReady("the server has no model in service yet, or one of its processes starts again")
        return schemas.ServerReady(ready=True)

    async def model_metadata(self, call: Call, path: Mapping[str, str], body: None) -> schemas.ModelMetadata:
        """Describes the tensors of a model."""
        request = inference_pb2.ModelMetadataRequest(name=path["model"], version=path.get("version"))
        return schemas.ModelMetadata.of(await self._inference.ModelMetadata(request, call))

    async def model_ready(self, call: Call, path: Mapping[str, str], body: None) -> schemas.ModelReady:
        """Reports whether a model serves: 200, otherwise 503."""
        request = inference_pb2.ModelReadyRequest(name=path["model"], version=path.get("version"))
        if not (await self._inference.ModelReady(request, call)).ready:
            raise NotReady("the model answers no requests; GET /v1/models gives its state and the reason")
        return schemas.ModelReady(path["model"], ready=True)

    async def infer(
        self, call: Call, path: Mapping[str, str], body: schemas.InferenceRequest
    ) -> schemas.InferenceResponse:
        """Classifies the texts of a tensor."""
        request = body.message(path["model"], path.get("version", ""), call.binary)
        response = await self._inference.ModelInfer(request, call)
        call.binary_answer = b"".join(response.raw_output_contents)
        return await _converted(schemas.InferenceResponse.of, response)


async def _converted(convert: Callable[[_MessageT], _StructT], message: _MessageT) -> _StructT:
    """Converts a response. A long one, such as explanations, is converted in a thread, to keep the event loop free."""
    return await asyncio.to_thread(convert, message) if message.ByteSize() > _SHORT else convert(message)
