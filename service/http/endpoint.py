"""Answers the requests of one HTTP route: token, body, call, errors, metrics and tracing."""

import asyncio
import codecs
import math
from collections.abc import Mapping
from time import perf_counter
from typing import Any

import msgspec
from google.protobuf import json_format
from google.rpc import code_pb2, status_pb2
from msgspec import Struct
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service.errors import (
    ForeignHost,
    InvalidArgument,
    Overloaded,
    RequestTimeout,
    RequestTooLarge,
    Unauthenticated,
    UnsupportedEncoding,
    shortened,
)
from service.grpc.decoding import FREE_BYTES, FURTHER_ELEMENTS, DecodingLimits, text_too_large
from service.grpc.instrumentation import Instruments
from service.grpc.status import http_status, status_of
from service.http import binary_tensors, schemas
from service.http.body import Bodies
from service.http.call import Call
from service.http.json_errors import invalid_json
from service.http.openapi import is_open_inference
from service.http.operations import Operation
from service.telemetry.call_observer import REQUEST_ID, Observation, http_request
from service.telemetry.metrics import RouteMetrics

_CLIENT_CLOSED_REQUEST = 499
"""The customary status for a client that has disconnected, in metrics."""

_BLOCK_BYTES = 16 * 1024

_LARGE_BYTES = 1 << 20
"""From this size, decoding a body blocks the event loop for about 7 ms or more, and a pause follows."""
PAUSE = 2.0
"""Pause before the next large body is decoded, as a multiple of the decoding time of the previous one."""

# HTTP statuses that are more specific than that of the gRPC code.
_STATUSES: dict[type[Exception], int] = {
    RequestTimeout: 408,
    RequestTooLarge: 413,
    UnsupportedEncoding: 415,
    ForeignHost: 421,
}


class Endpoint:
    """Answers the requests of one operation.

    Args:
        operation: the operation.
        instruments: the instruments of every call.
        bodies: reads the bodies of requests.
        limits: the bounds of a request.
    """

    def __init__(self, operation: Operation, instruments: Instruments, bodies: Bodies, limits: DecodingLimits) -> None:
        route = operation.path.replace(":name}", "}")
        self._operation = operation
        self._bodies = bodies
        self._limits = limits
        self._tokens = None if operation.open else instruments.tokens
        self._observer = None if operation.open else instruments.observer
        self._metrics = RouteMetrics(instruments.page, operation.method, route)
        self._kind = http_request(operation.method, route)

    async def respond(self, request: Request) -> Response:
        """Answers a request. Every error becomes a response."""
        start = perf_counter()
        observation = self._observe(request)
        try:
            self._authenticate(request)
            self._refuse_query(request)
            response = await self._call(request)
        except ClientDisconnect:
            response = Response(status_code=_CLIENT_CLOSED_REQUEST)
        except Exception as error:
            response = error_response(self._operation.path, error)
        self._metrics.handled(response.status_code, perf_counter() - start)
        if observation:
            response.headers[REQUEST_ID] = observation.request_id
            observation.end(response.status_code, fault=response.status_code >= 500)
        return response

    def _observe(self, request: Request) -> Observation | None:
        if not self._observer:
            return None
        client = f"{request.client.host}:{request.client.port}" if request.client else ""
        about = {"url.path": request.url.path, "url.scheme": request.url.scheme}
        return self._observer.begin(self._kind, request.headers, client, about)

    def _authenticate(self, request: Request) -> None:
        if self._tokens:
            self._tokens.check(request.headers.get("Authorization", ""))

    def _refuse_query(self, request: Request) -> None:
        """Refuses query parameters, which no route has. Otherwise a version there would be ignored silently."""
        if request.scope["query_string"] and not self._operation.open:
            name = next(iter(request.query_params), "query")
            raise InvalidArgument(shortened(name), "is not a parameter of this route: it takes none after a '?'")

    async def _call(self, request: Request) -> Response:
        operation, call = self._operation, Call(request)
        if operation.takes:
            with self._bodies.charge() as charge:
                content, call.binary = binary_tensors.split(await self._bodies.read(request, charge), request.headers)
                body = await self._decode(content, operation.takes)
                del content  # the texts are in `body`
                answer = await call.wait_for(operation.respond(call, request.path_params, body))
        else:
            answer = await operation.respond(call, request.path_params, None)
        return _encoded(answer, call.binary_answer)

    async def _decode(self, content: bytes | bytearray, kind: type[Struct]) -> Struct:
        """Decodes JSON. Large bodies take turns, since their decoding blocks the event loop."""
        if len(content) < _LARGE_BYTES:
            return _decoded(content, kind, self._limits.max_texts)
        await self._bodies.large.acquire()
        start = perf_counter()
        try:
            body = _decoded(content, kind, self._limits.max_texts)
            _refuse_large_texts(body, self._limits.max_text_bytes)
            return body
        finally:
            # Only the next large body waits, not the answer to this one.
            pause = PAUSE * (perf_counter() - start)
            asyncio.get_running_loop().call_later(pause, self._bodies.large.release)


def _decoded(body: bytes | bytearray, kind: type[Struct], max_texts: int) -> Struct:
    if len(body) > FREE_BYTES and _has_more_strings(body, max_texts + FURTHER_ELEMENTS):
        raise InvalidArgument("body", f"has too many strings; at most {max_texts} texts fit into a request: split it")
    if not body:
        raise InvalidArgument("body", "is empty: send JSON")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if body.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise InvalidArgument("body", "begins with a byte order mark: send UTF-8 without it") from error
        raise invalid_json(error, kind) from error


def _refuse_large_texts(body: Any, limit: int) -> None:
    """Refuses too large texts before they are converted, which takes several times their memory. The servicer checks
    all texts.
    """
    for index, text in enumerate(body.all_texts()):
        if len(text) > limit:
            raise text_too_large(f"{body.texts_field}[{index}]", len(text.encode()), limit)


def _has_more_strings(body: bytes | bytearray, limit: int) -> bool:
    """Tells whether JSON may have more strings than `limit`. A string begins with a quote that follows no backslash."""
    quotes = 0
    for start in range(0, len(body), _BLOCK_BYTES):
        end = start + _BLOCK_BYTES
        quotes += body.count(b'"', start, end) - body.count(b'\\"', max(0, start - 1), end)
        if quotes > 2 * limit:
            return True
    return False


def _encoded(answer: Any, binary: bytes) -> Response:
    content = msgspec.json.encode(answer)
    if not binary:
        return Response(content, media_type="application/json")
    headers = {binary_tensors.JSON_LENGTH: str(len(content))}
    return Response(content + binary, headers=headers, media_type="application/octet-stream")


def is_probe(path: str) -> bool:
    """Tells whether a path is a health probe."""
    return path.startswith("/v2/health/")


def error_response(path: str, error: Exception) -> Response:
    """Returns the response for an error of a call."""
    status = status_of(error)
    code = _STATUSES.get(type(error)) or http_status(status.code)
    return status_response(path, code, status, _headers(error))


def _headers(error: Exception) -> dict[str, str]:
    """Returns the headers that HTTP has for an error."""
    match error:
        case Unauthenticated():
            return {"WWW-Authenticate": "Bearer"}
        case Overloaded():
            return {"Retry-After": str(math.ceil(error.retry_seconds))}
        case _:
            return {}


def status_response(
    path: str, code: int, status: status_pb2.Status, headers: Mapping[str, str] | None = None
) -> Response:
    """Returns the response for a status, in the form of the path's protocol."""
    answer: Struct
    if is_open_inference(path):
        answer = schemas.InferenceError(status.message)
    else:
        details = json_format.MessageToDict(status)["details"] if status.details else []
        answer = schemas.Error(schemas.Status(code, status.message, code_pb2.Code.Name(status.code), details))
    return Response(msgspec.json.encode(answer), code, headers, "application/json")
