"""What a client is told of each error."""

import traceback
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from structlog.testing import capture_logs

from service import errors
from service.errors import (
    CannotAbstain,
    CannotExplain,
    InvalidArgument,
    NotFound,
    Overloaded,
    RequestError,
    reason_for_clients,
    shortened,
)
from service.grpc.status import _STATUS_CODES, http_status, status_code, status_of, to_status
from textmodel import ModelError

CODES: list[tuple[Exception, grpc.StatusCode, int]] = [
    (InvalidArgument("texts", "is odd"), grpc.StatusCode.INVALID_ARGUMENT, 400),
    (DecodeError("odd"), grpc.StatusCode.INVALID_ARGUMENT, 400),
    (NotFound("models/x", "available are none"), grpc.StatusCode.NOT_FOUND, 404),
    (errors.Unauthenticated(), grpc.StatusCode.UNAUTHENTICATED, 401),
    (errors.ForeignHost("x"), grpc.StatusCode.PERMISSION_DENIED, 403),
    (errors.NotReady(), grpc.StatusCode.UNAVAILABLE, 503),
    (errors.TooManyRequests(7), grpc.StatusCode.UNAVAILABLE, 503),
    (errors.DeadlineExceeded(), grpc.StatusCode.DEADLINE_EXCEEDED, 504),
    (errors.RequestTimeout("late"), grpc.StatusCode.DEADLINE_EXCEEDED, 504),
    (Overloaded("m", 1), grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    (errors.TooManyCalls("Classify", 7), grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    (errors.TooManyBytes(7), grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    (errors.RequestTooLarge("large"), grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    (errors.UnsupportedEncoding("br"), grpc.StatusCode.UNIMPLEMENTED, 501),
    (NotImplementedError(), grpc.StatusCode.UNIMPLEMENTED, 501),
    (CannotExplain("models/m/versions/1", "no"), grpc.StatusCode.FAILED_PRECONDITION, 400),
    (CannotAbstain("models/m/versions/1", "no"), grpc.StatusCode.FAILED_PRECONDITION, 400),
    (KeyError("a user's text"), grpc.StatusCode.INTERNAL, 500),
]


@pytest.mark.parametrize(("error", "code", "http"), CODES, ids=[type(error).__name__ for error, _, _ in CODES])
def test_each_error_has_its_code(error: Exception, code: grpc.StatusCode, http: int) -> None:
    status = to_status(error)
    assert status_code(status.code) is code
    assert http_status(status.code) == http
    assert status.message == str(error) or not isinstance(error, RequestError)
    assert "a user's text" not in status.message


def test_every_error_of_a_request_has_a_code() -> None:
    assert set(RequestError.__subclasses__()) <= set(_STATUS_CODES)


def test_what_a_program_may_read_of_an_error_is_in_its_details() -> None:
    field, resource, retry = (
        error_details_pb2.BadRequest(),
        error_details_pb2.ResourceInfo(),
        error_details_pb2.RetryInfo(),
    )
    assert to_status(InvalidArgument("texts[3]", "is odd")).details[0].Unpack(field)
    assert [(each.field, each.description) for each in field.field_violations] == [("texts[3]", "is odd")]
    assert to_status(NotFound("models/x", "available are none")).details[0].Unpack(resource)
    assert (resource.resource_type, resource.resource_name) == ("text_classifier.v1.Model", "models/x")
    assert resource.description == "available are none"
    assert to_status(NotFound("services/x", "the services are none", "service")).details[0].Unpack(resource)
    assert (resource.resource_type, resource.resource_name) == ("service", "services/x")
    assert to_status(Overloaded("m", 1.25)).details[0].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 1250
    for error, kind in ((CannotExplain("models/m", "no"), "EXPLAIN"), (CannotAbstain("models/m", "no"), "ABSTAIN")):
        failure = error_details_pb2.PreconditionFailure()
        assert to_status(error).details[0].Unpack(failure)
        assert [(each.type, each.subject, each.description) for each in failure.violations] == [
            (kind, "models/m", "no")
        ]
    assert not to_status(errors.NotReady()).details


def test_only_an_internal_error_is_logged_and_without_its_message() -> None:
    with capture_logs() as logs:
        status_of(errors.NotReady())
    assert logs == []

    def fails() -> None:
        raise KeyError("a user's text")

    try:
        fails()
    except KeyError as error:
        caught: Exception = error
    trace = "".join(traceback.format_tb(caught.__traceback__))
    with capture_logs() as logs:
        status_of(caught)
    (line,) = logs
    assert (line["event"], line["error"], line["trace"]) == ("request failed", "KeyError", trace)
    assert __file__ in trace
    assert "a user's text" not in str(line)


def test_an_error_that_is_kept_keeps_no_frames() -> None:
    try:
        try:
            try:
                raise KeyError
            except KeyError:
                raise ValueError from None
        except ValueError as cause:
            raise errors.NotReady from cause
    except errors.NotReady as error:
        caught = error
    status_of(caught)
    links: list[BaseException | None] = [caught, caught.__cause__, caught.__cause__ and caught.__cause__.__context__]
    for each in links:
        assert each is not None
        assert each.__traceback__ is None


def test_a_status_code_is_given_as_itself_or_as_its_number() -> None:
    assert status_code(grpc.StatusCode.ABORTED) is grpc.StatusCode.ABORTED
    assert status_code(10) is grpc.StatusCode.ABORTED
    assert status_code(99) is grpc.StatusCode.UNKNOWN


def test_a_name_of_64_characters_is_shown_whole_and_a_longer_one_cut() -> None:
    assert shortened("x" * 64) == "x" * 64
    assert shortened("x" * 65) == "x" * 64 + "…"


def test_a_reason_names_files_inside_the_version_folder_only(tmp_path: Path) -> None:
    assert reason_for_clients(ModelError(f"{tmp_path}/a/b is odd"), tmp_path) == "a/b is odd"
    assert reason_for_clients(ModelError(f"{tmp_path} is odd"), tmp_path) == "the version folder is odd"
    assert reason_for_clients(ModelError("\udcff is odd"), tmp_path) == "\\udcff is odd"
