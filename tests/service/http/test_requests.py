"""What is read of an HTTP request before a servicer gets it: its size, its deadline, its raw tensors."""

import asyncio
import json
import math
from typing import Any

import pytest
from starlette.requests import Request

from service import errors
from service.errors import InvalidArgument, NotReady
from service.grpc.decoding import FREE_BYTES, FURTHER_ELEMENTS
from service.grpc.health import HealthServicer
from service.grpc.open_inference_servicer import OpenInferenceServicer
from service.http.binary_tensors import JSON_LENGTH, split
from service.http.call import Call
from service.http.endpoint import _decoded, _has_more_strings, error_response, is_probe
from service.http.openapi import is_open_inference
from service.http.operations import Operations
from service.http.schemas import ClassifyRequest
from service.inference.repository import Model, ModelRepository, ModelVersion, State


def request(**headers: str) -> Request:
    named = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
    scope: dict[str, Any] = {"type": "http", "headers": named}
    return Request(scope)


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [("2H", 7200), ("3M", 180), ("4S", 4), ("2500m", 2.5), ("99999999u", 100), ("0n", 0)],
)
def test_a_timeout_is_a_number_and_a_unit(timeout: str, seconds: float) -> None:
    left = Call(request(grpc_timeout=timeout)).time_remaining()
    assert left is not None
    assert seconds - 60 < left <= seconds


def test_without_a_timeout_there_is_no_deadline() -> None:
    assert Call(request()).time_remaining() is None


@pytest.mark.parametrize("timeout", ["", "1", "S", "1s", "-1S", "1.5S", "123456789S", " 1S", "1SS"])
def test_what_is_no_timeout_is_refused(timeout: str) -> None:
    with pytest.raises(InvalidArgument, match="up to 8 digits and H, M, S, m, u or n"):
        Call(request(grpc_timeout=timeout))


@pytest.mark.parametrize(
    ("length", "parts"),
    [
        (None, (b"{}raw", b"")),
        ("0", (b"", b"{}raw")),
        ("2", (b"{}", b"raw")),
        ("5", (b"{}raw", b"")),
    ],
)
def test_a_header_says_where_the_json_ends(length: str | None, parts: tuple[bytes, bytes]) -> None:
    assert split(b"{}raw", {} if length is None else {JSON_LENGTH: length}) == parts


@pytest.mark.parametrize("length", ["", "6", "-1", "1.0", "02", "x", "²", "9" * 5000])
def test_a_length_outside_the_body_is_refused(length: str) -> None:
    with pytest.raises(InvalidArgument, match="is not a length within the body"):
        split(b"{}raw", {JSON_LENGTH: length})


@pytest.mark.parametrize("block", [3, 5, 1 << 14])
def test_strings_are_counted_across_blocks(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.http.endpoint._BLOCK_BYTES", block)
    body = b'["a", "b\\"\\"c", "d"]'
    assert not _has_more_strings(body, 3)
    assert _has_more_strings(body, 2)
    assert not _has_more_strings(b"", 0)


def test_a_large_body_may_have_as_many_strings_as_texts_and_some_more() -> None:
    def body(strings: int, size: int) -> bytes:
        short = b'"a",' * (strings - 2)  # beside the key and the last text
        content = b'{"texts":[' + short + b'"b"]}'
        return content + b" " * (size - len(content))

    most = 10 + FURTHER_ELEMENTS
    assert _decoded(body(most, FREE_BYTES + 1), ClassifyRequest, 10)
    with pytest.raises(InvalidArgument, match="has too many strings; at most 10 texts fit"):
        _decoded(body(most + 1, FREE_BYTES + 1), ClassifyRequest, 10)
    assert _decoded(body(most + 1, FREE_BYTES), ClassifyRequest, 10)  # costs too little to be looked into


@pytest.mark.parametrize(
    ("path", "probe", "open_inference"),
    [
        ("/v2/health/live", True, True),
        ("/v2/health/", True, True),
        ("/v2/health", False, True),
        ("/v2", False, True),
        ("/v2x", False, False),
        ("/v1/models", False, False),
    ],
)
def test_a_path_tells_probes_and_the_open_inference_protocol(path: str, probe: bool, open_inference: bool) -> None:
    assert is_probe(path) is probe
    assert is_open_inference(path) is open_inference


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidArgument("texts", "is odd"), 400, "INVALID_ARGUMENT"),
        (errors.Unauthenticated(), 401, "UNAUTHENTICATED"),
        (errors.NotFound("models/x", "available are none"), 404, "NOT_FOUND"),
        (errors.RequestTimeout("late"), 408, "DEADLINE_EXCEEDED"),
        (errors.RequestTooLarge("large"), 413, "RESOURCE_EXHAUSTED"),
        (errors.UnsupportedEncoding("br"), 415, "UNIMPLEMENTED"),
        (errors.ForeignHost("x"), 421, "PERMISSION_DENIED"),
        (errors.Overloaded("m", 1.2), 429, "RESOURCE_EXHAUSTED"),
        (errors.NotReady(), 503, "UNAVAILABLE"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_an_error_has_its_http_status_and_the_form_of_its_protocol(
    error: errors.RequestError, status: int, code: str
) -> None:
    response = error_response("/v1/models", error)
    told = json.loads(bytes(response.body))["error"]
    assert (response.status_code, told["code"], told["status"], told["message"]) == (status, status, code, str(error))
    has_details = isinstance(error, InvalidArgument | errors.NotFound | errors.Overloaded)
    assert [each["@type"].startswith("type.googleapis.com/google.rpc.") for each in told["details"]] == (
        [True] if has_details else []
    )
    assert response.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
    assert response.headers.get("retry-after") == ("2" if isinstance(error, errors.Overloaded) else None)
    assert json.loads(bytes(error_response("/v2/models/x", error).body)) == {"error": str(error)}


def test_a_deadline_in_nanoseconds_is_over_at_once() -> None:
    left = Call(request(grpc_timeout="1n")).time_remaining()
    assert left is not None
    assert not math.isinf(left)
    assert left <= 1e-9


def test_what_is_not_ready_says_why_or_where_to_find_out() -> None:
    repository = ModelRepository()
    other: Any = None
    repository.models["m"] = Model({1: ModelVersion("m", 1, State.FAILED, "odd")})
    operations = Operations(other, OpenInferenceServicer(repository, other, HealthServicer(("",))))
    call = Call(request())
    with pytest.raises(NotReady, match="no model in service yet, or one of its processes starts again"):
        asyncio.run(operations.server_ready(call, {}, None))
    with pytest.raises(NotReady, match="GET /v1/models gives its state and the reason"):
        asyncio.run(operations.model_ready(call, {"model": "m"}, None))
