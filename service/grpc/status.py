"""Maps errors to `google.rpc.Status`, and gRPC status codes to HTTP statuses. No other module does."""

import traceback
from typing import Any

import grpc
import structlog
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from service.errors import (
    CannotAbstain,
    CannotExplain,
    DeadlineExceeded,
    ForeignHost,
    InvalidArgument,
    NotFound,
    NotReady,
    Overloaded,
    RequestTimeout,
    RequestTooLarge,
    TooManyBytes,
    TooManyCalls,
    TooManyRequests,
    Unauthenticated,
    UnsupportedEncoding,
)

_log = structlog.get_logger()


def status_of(error: Exception) -> status_pb2.Status:
    """Maps an error to the client's status, logs it if it is internal, and drops its tracebacks.

    A traceback refers to frames, and these refer to the request. An error that is kept would keep the request too.
    """
    status = to_status(error)
    if status.code == grpc.StatusCode.INTERNAL.value[0]:
        # The message of the error may quote the text on which TensorFlow failed.
        trace = "".join(traceback.format_tb(error.__traceback__))
        _log.error("request failed", error=type(error).__name__, trace=trace)
    drop_tracebacks(error)
    return status


def drop_tracebacks(error: BaseException | None) -> None:
    """Drops the tracebacks of an error and of its causes."""
    while error:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


# The status of each error. Other errors are INTERNAL.
_STATUS_CODES: dict[type[Exception], grpc.StatusCode] = {
    InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    DecodeError: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    ForeignHost: grpc.StatusCode.PERMISSION_DENIED,
    NotReady: grpc.StatusCode.UNAVAILABLE,
    TooManyRequests: grpc.StatusCode.UNAVAILABLE,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    RequestTimeout: grpc.StatusCode.DEADLINE_EXCEEDED,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooManyCalls: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooManyBytes: grpc.StatusCode.RESOURCE_EXHAUSTED,
    RequestTooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    UnsupportedEncoding: grpc.StatusCode.UNIMPLEMENTED,
    CannotExplain: grpc.StatusCode.FAILED_PRECONDITION,
    CannotAbstain: grpc.StatusCode.FAILED_PRECONDITION,
    NotImplementedError: grpc.StatusCode.UNIMPLEMENTED,  # by methods that grpcio-reflection leaves out
}
# Messages for errors of libraries.
_MESSAGES: dict[type[Exception], str] = {
    DecodeError: "the request is not a valid protobuf message",
    NotImplementedError: "this server does not implement the method",
}


def to_status(error: Exception) -> status_pb2.Status:
    """Maps an error to the status that the client sees."""
    kind = type(error)
    if kind not in _STATUS_CODES:
        code, message = grpc.StatusCode.INTERNAL, "internal error; the server's log has the cause"
    else:
        code, message = _STATUS_CODES[kind], _MESSAGES.get(kind) or str(error)
    status = status_pb2.Status(code=code.value[0], message=message)
    if detail := _detail(error):
        status.details.add().Pack(detail)
    return status


def _detail(error: Exception) -> Any:
    """Returns the machine-readable details of an error."""
    match error:
        case InvalidArgument():
            violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.description)
            return error_details_pb2.BadRequest(field_violations=[violation])
        case NotFound():
            return error_details_pb2.ResourceInfo(
                resource_type=error.kind, resource_name=error.resource, description=error.description
            )
        case Overloaded():
            delay = Duration()
            delay.FromMilliseconds(round(error.retry_seconds * 1000))
            return error_details_pb2.RetryInfo(retry_delay=delay)
        case CannotExplain() | CannotAbstain():
            failure = error_details_pb2.PreconditionFailure()
            kind = "EXPLAIN" if isinstance(error, CannotExplain) else "ABSTAIN"
            failure.violations.add(type=kind, subject=error.resource, description=error.reason)
            return failure
        case _:
            return None


# The HTTP statuses that google/rpc/code.proto assigns to the codes of `to_status`.
_HTTP = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
_HTTP_BY_NUMBER = {code.value[0]: status for code, status in _HTTP.items()}


def http_status(code: int) -> int:
    """Returns the HTTP status for a gRPC status code, given as a number."""
    return _HTTP_BY_NUMBER[code]


_CODES: dict[Any, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def status_code(code: Any) -> grpc.StatusCode:
    """Returns the status code for a code or its number. Contexts of grpc.aio contain either."""
    return _CODES.get(code, grpc.StatusCode.UNKNOWN) if isinstance(code, int) else code


# The codes that OpenTelemetry's semantic conventions for gRPC count as server faults.
SERVER_FAULTS = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}
