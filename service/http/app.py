"""The HTTP routes around their operations: tokens, bodies, errors, metrics, and who may call from a browser."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

import msgspec
from google.protobuf import json_format
from google.rpc import code_pb2, status_pb2
from msgspec import Struct
from starlette.applications import Starlette
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from service.errors import InvalidArgument, http_status
from service.grpc.instrumentation import status_of
from service.grpc.open_inference_servicer import OpenInferenceServicer
from service.grpc.text_classifier_servicer import TextClassifierServicer
from service.http import binary_tensors, schemas
from service.http.call import TIMEOUT, Call
from service.http.openapi import document, is_open_inference
from service.http.operations import Operation, Operations
from service.http.web_page import web_page
from service.security.tokens import Tokens
from service.telemetry.call_observer import REQUEST_ID, Kind, Observation, Observer, http_request
from service.telemetry.metrics import RouteMetrics
from service.telemetry.shared_metrics import MetricsPage

_CLIENT_CLOSED_REQUEST = 499
"""What is counted, by custom, when nobody is there any more to be told."""


class _NameConvertor(StringConvertor):
    """A name in a path ends at a colon: what follows is a method, as in `models/imdb:classify`."""

    regex = "[^/:]+"


register_url_convertor("name", _NameConvertor())


def http_api(
    servicer: TextClassifierServicer,
    inference: OpenInferenceServicer,
    page: MetricsPage,
    *,
    grpc_port: int,
    tokens: Tokens | None,
    observer: Observer | None,
    most_bytes: int,
    cors_origins: Sequence[str],
    reflection: bool,
) -> Starlette:
    """Builds the application.

    Args:
        servicer: answers `/v1`.
        inference: answers `/v2`.
        page: where metrics go.
        grpc_port: where gRPC is served, for the web page's examples.
        tokens: those that requests need, if they do.
        observer: observes requests, if they are to be observed.
        most_bytes: the longest body.
        cors_origins: the origins whose pages may call; `*`: all.
        reflection: whether the server describes itself: serves the OpenAPI document.
    """
    operations = Operations(servicer, inference).all()
    described = document(operations)

    async def openapi(call: Call, path: Mapping[str, str], body: None) -> dict[str, Any]:
        return described

    if reflection:
        # It holds what this project publishes anyway, and a browser that follows the page's link sends no token.
        operations.append(Operation("GET", "/openapi.json", None, dict, openapi, open=True))

    routes = [
        Route(each.path, _endpoint(each, page, tokens, observer, most_bytes), methods=[each.method])
        for each in operations
    ]
    cors = Middleware(
        CORSMiddleware,
        allow_origins=cors_origins,
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type", "X-Request-Id", "Traceparent", "Tracestate", TIMEOUT],
        expose_headers=["X-Request-Id"],
    )
    return Starlette(
        routes=[*routes, *web_page(page, grpc_port, reflection=reflection)],
        middleware=[cors] if cors_origins else [],
        exception_handlers={HTTPException: _no_such_route},
    )


def _endpoint(
    operation: Operation, page: MetricsPage, tokens: Tokens | None, observer: Observer | None, most_bytes: int
) -> Callable[[Request], Awaitable[Response]]:
    route = operation.path.replace(":name}", "}")
    metrics = RouteMetrics(page, operation.method, route)
    kind = http_request(operation.method, route)
    if operation.open:
        tokens = observer = None

    async def respond(request: Request) -> Response:
        start = perf_counter()
        observation = _observe(observer, kind, request) if observer else None
        try:
            if tokens:
                tokens.check(request.headers.get("Authorization", ""))
            call = Call(request)
            if operation.takes:
                content, call.binary = binary_tensors.split(await _read(request, most_bytes), request.headers)
                body = _decoded(content, operation.takes)
                answer = await call.wait_for(operation.respond(call, request.path_params, body))
            else:
                answer = await operation.respond(call, request.path_params, None)
            response = _answered(answer, call.binary_answer)
        except ClientDisconnect:
            response = Response(status_code=_CLIENT_CLOSED_REQUEST)
        except Exception as error:
            status = status_of(error)
            code = http_status(status.code)
            response = _failed(operation.path, code, status, {"WWW-Authenticate": "Bearer"} if code == 401 else None)
        metrics.handled(response.status_code, perf_counter() - start)
        if observation:
            response.headers[REQUEST_ID] = observation.request_id
            observation.end(response.status_code, fault=response.status_code >= 500)
        return response

    return respond


def _observe(observer: Observer, kind: Kind, request: Request) -> Observation:
    client = f"{request.client.host}:{request.client.port}" if request.client else ""
    about = {"url.path": request.url.path, "url.scheme": request.url.scheme}
    return observer.begin(kind, request.headers, client, about)


def _answered(answer: Any, binary: bytes) -> Response:
    content = msgspec.json.encode(answer)
    if not binary:
        return Response(content, media_type="application/json")
    headers = {binary_tensors.JSON_LENGTH: str(len(content))}
    return Response(content + binary, headers=headers, media_type="application/octet-stream")


async def _read(request: Request, most: int) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise InvalidArgument("body", f"has more than the {most} bytes that are allowed")
    return bytes(body)


def _decoded(body: bytes, kind: type[Struct]) -> Struct:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument("body", f"is not the JSON of this route: {error}") from error


async def _no_such_route(request: Request, error: Exception) -> Response:
    """Answers where no operation does: 404, or 405 where another method would do."""
    assert isinstance(error, HTTPException)
    code = code_pb2.NOT_FOUND if error.status_code == 404 else code_pb2.UNIMPLEMENTED
    status = status_pb2.Status(code=code, message=error.detail)
    return _failed(request.url.path, error.status_code, status, error.headers)


def _failed(path: str, code: int, status: status_pb2.Status, headers: Mapping[str, str] | None = None) -> Response:
    answer: Struct
    if is_open_inference(path):
        answer = schemas.InferenceError(status.message)
    else:
        details = json_format.MessageToDict(status)["details"] if status.details else []
        answer = schemas.Error(schemas.Status(code, status.message, code_pb2.Code.Name(status.code), details))
    return Response(msgspec.json.encode(answer), code, headers, "application/json")
