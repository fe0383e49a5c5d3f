"""Builds the OpenAPI document of the HTTP routes from their declarations."""

import re
from collections.abc import Iterable
from importlib.metadata import version as installed_version
from typing import Any

import msgspec

from service.http import schemas
from service.http.call import TIMEOUT, TIMEOUT_PATTERN
from service.http.operations import Operation

_PART = re.compile(r"{(\w+):name}")
_PATTERNS = {"model": "^[A-Za-z0-9][A-Za-z0-9._-]*$", "version": "^[1-9][0-9]{0,17}$"}
"""Patterns of the path parameters."""


def is_open_inference(path: str) -> bool:
    """Tells whether a path belongs to the Open Inference Protocol, whose errors have their own form."""
    return path == "/v2" or path.startswith("/v2/")


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """Returns the document. OpenAPI 3.0, since there `integer` excludes 1.0, as msgspec does."""
    operations = list(operations)
    bodies = {body for each in operations for body in (each.takes, each.gives) if body}
    bodies |= {schemas.Error, schemas.InferenceError}
    _, components = msgspec.json.schema_components(
        sorted(bodies, key=lambda body: body.__name__), ref_template="#/components/schemas/{name}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for each in operations:
        paths.setdefault(_PART.sub(r"{\1}", each.path), {})[each.method.lower()] = _operation(each)
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "text-classifier",
            "version": installed_version("text-classifier"),
            "description": "Text in, label and probability out. /v2 implements the Open Inference Protocol.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "parameters": {
                "timeout": {
                    "name": TIMEOUT,
                    "in": "header",
                    "description": "Deadline of the call, in gRPC's format: up to 8 digits and a unit, one of H, M, S,"
                    " m (milliseconds), u and n. Default: no deadline.",
                    "schema": {"type": "string", "pattern": TIMEOUT_PATTERN},
                }
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Required if the server has tokens.",
                }
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    tag, error = (
        ("Open Inference Protocol", schemas.InferenceError)
        if is_open_inference(operation.path)
        else ("Text classifier", schemas.Error)
    )
    described: dict[str, Any] = {
        "operationId": _name(operation),
        "tags": [tag],
        "summary": (operation.respond.__doc__ or "").rstrip("."),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": _PATTERNS[name]}}
            for name in _PART.findall(operation.path)
        ]
        + [{"$ref": "#/components/parameters/timeout"}],
        "responses": {"200": _body(operation.gives, "OK"), "default": _body(error, "Error")},
        "security": [] if operation.open else [{}, {"bearer": []}],
    }
    if operation.takes:
        described["requestBody"] = {"required": True, **_content(operation.takes)}
    return described


def _name(operation: Operation) -> str:
    """Returns the name of the function that a generated client has for an operation."""
    first, *others = operation.respond.__name__.split("_")
    return first + "".join(map(str.title, others)) + ("OfVersion" if "{version" in operation.path else "")


def _body(kind: type[msgspec.Struct], description: str) -> dict[str, Any]:
    return {"description": description, **_content(kind)}


def _content(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}}}}
