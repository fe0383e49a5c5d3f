"""The HTTP application: its routes, and the hosts and origins that may use them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from google.rpc import code_pb2, status_pb2
from starlette.applications import Starlette
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from service.config import Config
from service.errors import ForeignHost, shortened
from service.grpc.decoding import DecodingLimits
from service.grpc.instrumentation import Instruments
from service.grpc.server import Servicers
from service.http.body import Bodies
from service.http.call import TIMEOUT, Call
from service.http.endpoint import Endpoint, error_response, is_probe, status_response
from service.http.openapi import document
from service.http.operations import Operation, Operations
from service.http.web_page import web_page
from service.security.hosts import AllowedHosts


class _NameConvertor(StringConvertor):
    """A name in a path. It ends at a colon, which a method follows, as in `models/imdb:classify`."""

    regex = "[^/:]+"


register_url_convertor("name", _NameConvertor())


@dataclass(frozen=True)
class HttpOptions:
    """The configuration of HTTP."""

    max_body_bytes: int
    """Maximum size of a decompressed body."""
    max_texts: int
    """Maximum number of texts in a request."""
    max_text_bytes: int
    """Maximum size of a text in UTF-8."""
    hosts: AllowedHosts
    """The hosts that requests may name."""
    grpc_port: int = 0
    """The gRPC port, for the web page's examples."""
    cors_origins: Sequence[str] = ()
    """The origins whose pages may call the routes; `*`: all."""
    reflection: bool = True
    """Whether the server describes itself: serves the OpenAPI document."""

    @classmethod
    def of(cls, config: Config, grpc_port: int) -> "HttpOptions":
        """Returns the options of the server's configuration."""
        return cls(
            max_body_bytes=config.max_request_bytes,
            max_texts=config.max_texts,
            max_text_bytes=config.max_text_bytes,
            hosts=AllowedHosts(config.host, config.allowed_hosts),
            grpc_port=grpc_port,
            cors_origins=config.cors_origins,
            reflection=config.reflection == "on",
        )


def http_app(servicers: Servicers, instruments: Instruments, options: HttpOptions) -> Starlette:
    """Builds the application.

    Args:
        servicers: answer the routes.
        instruments: the instruments of every call.
        options: the configuration of HTTP.
    """
    operations = Operations(servicers.text_classifier, servicers.open_inference).all()
    if options.reflection:
        operations.append(_openapi(operations))
    bodies = Bodies(options.max_body_bytes)
    limits = DecodingLimits(options.max_body_bytes, options.max_texts, options.max_text_bytes)
    routes = [
        Route(each.path, Endpoint(each, instruments, bodies, limits).respond, methods=[each.method])
        for each in operations
    ]
    app = Starlette(
        routes=[*routes, *web_page(instruments.page, options.grpc_port, reflection=options.reflection)],
        middleware=[Middleware(_HostCheck, hosts=options.hosts), *_cors(options.cors_origins)],
        exception_handlers={HTTPException: partial(_no_such_route, described=options.reflection)},
    )
    app.router.redirect_slashes = False  # a redirect would lead to any host that the request names
    return app


class _HostCheck:
    """Refuses requests that name a foreign host. Probes are exempt: they may name any address of the server."""

    def __init__(self, app: ASGIApp, hosts: AllowedHosts) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_probe(scope["path"]):
            named = Headers(scope=scope).get("host", "")
            if not self._hosts.allow(named):
                await error_response(scope["path"], ForeignHost(named))(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _openapi(operations: Sequence[Operation]) -> Operation:
    """Returns the operation that serves the OpenAPI document of the other operations.

    It needs no token: the document is public, and a browser that follows the page's link sends none.
    """
    described = document(operations)

    async def openapi(call: Call, path: Mapping[str, str], body: None) -> dict[str, Any]:
        return described

    return Operation("GET", "/openapi.json", None, dict, openapi, open=True)


def _cors(origins: Sequence[str]) -> list[Middleware]:
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Request-Id", "Traceparent", "Tracestate", TIMEOUT],
            expose_headers=["X-Request-Id"],
        )
    ]


async def _no_such_route(request: Request, error: Exception, *, described: bool) -> Response:
    """Answers a request without a route: 404, or 405 if the path exists with another method."""
    assert isinstance(error, HTTPException)
    code = code_pb2.NOT_FOUND if error.status_code == 404 else code_pb2.UNIMPLEMENTED
    path = shortened(request.url.path)
    message = f"no route {path}" if error.status_code == 404 else f"{path} does not take {request.method}"
    if described:
        message += ": /openapi.json describes the routes"
    status = status_pb2.Status(code=code, message=message)
    return status_response(request.url.path, error.status_code, status, error.headers)
