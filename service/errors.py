"""What can go wrong with the start and with a request, and the one place that says how a client hears of it."""

from collections.abc import Sequence
from pathlib import Path

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from textmodel import ModelError

_LONGEST_NAME = 64


class StartError(Exception):
    """The server cannot start. The text says why and what to do."""


class RequestError(Exception):
    """A request that cannot be answered, for a reason that the client may know."""


class InvalidArgument(RequestError):
    """A field of the request is wrong.

    Args:
        field: its path, e.g. `texts[3]`.
        description: what is wrong and what would be right.
    """

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}")
        self.field = field
        self.description = description


class NotFound(RequestError):
    """No such model or version.

    Args:
        resource: what was asked for, e.g. `models/imdb/versions/7`.
        description: what there is instead.
    """

    def __init__(self, resource: str, description: str) -> None:
        super().__init__(f"{resource} not found: {description}")
        self.resource = resource
        self.description = description


class Unauthenticated(RequestError):
    """The call came without a token that the server knows."""

    def __init__(self) -> None:
        super().__init__("send a bearer token that the server knows, in the metadata: 'authorization: Bearer TOKEN'")


class NotReady(RequestError):
    """The models are being loaded."""

    def __init__(self) -> None:
        super().__init__("the models are being loaded; the health service tells when they serve")


class DeadlineExceeded(RequestError):
    """The client's deadline passed before the request's turn came."""

    def __init__(self) -> None:
        super().__init__("the deadline passed while the request waited")


class Overloaded(RequestError):
    """The queue is full.

    Args:
        model: the model whose queue it is.
        retry_seconds: when it is worth coming again.
    """

    def __init__(self, model: str, retry_seconds: float) -> None:
        super().__init__(f"the queue of model {model!r} is full, try again in {retry_seconds:g} s")
        self.retry_seconds = retry_seconds


class CannotExplain(RequestError):
    """The answers of this version cannot be explained.

    Args:
        resource: the version, e.g. `models/imdb/versions/7`.
        reason: why not.
    """

    def __init__(self, resource: str, reason: str) -> None:
        super().__init__(f"{resource} cannot be explained: {reason}")
        self.resource = resource
        self.reason = reason


def shortened(name: str) -> str:
    """Returns a name from a request as it can come back in an error, which has to fit into HTTP/2 headers of 8 KiB."""
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"


def reason_for_clients(error: ModelError, folder: Path) -> str:
    """Returns what is wrong with a version. It names files as the version folder has them, not where that is."""
    return str(error).replace(f"{folder}/", "").replace(str(folder), "the version folder")


def to_status(error: Exception) -> status_pb2.Status:  # noqa: PLR0911, one for each case
    """Maps an error to the status that the client sees. What is not foreseen here is internal."""
    match error:
        case InvalidArgument():
            violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.description)
            details = error_details_pb2.BadRequest(field_violations=[violation])
            return _status(grpc.StatusCode.INVALID_ARGUMENT, str(error), [details])
        case NotFound():
            info = error_details_pb2.ResourceInfo(
                resource_type="text_classifier.v1.Model", resource_name=error.resource, description=error.description
            )
            return _status(grpc.StatusCode.NOT_FOUND, str(error), [info])
        case Unauthenticated():
            return _status(grpc.StatusCode.UNAUTHENTICATED, str(error), [])
        case NotReady():
            return _status(grpc.StatusCode.UNAVAILABLE, str(error), [])
        case DeadlineExceeded():
            return _status(grpc.StatusCode.DEADLINE_EXCEEDED, str(error), [])
        case Overloaded():
            delay = Duration()
            delay.FromMilliseconds(round(error.retry_seconds * 1000))
            retry = error_details_pb2.RetryInfo(retry_delay=delay)
            return _status(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error), [retry])
        case CannotExplain():
            failure = error_details_pb2.PreconditionFailure()
            failure.violations.add(type="EXPLAIN", subject=error.resource, description=error.reason)
            return _status(grpc.StatusCode.FAILED_PRECONDITION, str(error), [failure])
        case DecodeError():
            return _status(grpc.StatusCode.INVALID_ARGUMENT, "the request's bytes are not the method's message", [])
        case NotImplementedError():  # a method of a standard service that its library leaves out
            return _status(grpc.StatusCode.UNIMPLEMENTED, "this server does not implement the method", [])
        case _:
            return _status(grpc.StatusCode.INTERNAL, "internal error; the server's log has the cause", [])


# google/rpc/code.proto gives each code of gRPC one of HTTP; these are the codes that `to_status` gives.
_HTTP = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
_HTTP_BY_NUMBER = {code.value[0]: status for code, status in _HTTP.items()}


def http_status(code: int) -> int:
    """Returns the HTTP status for the number of a gRPC code."""
    return _HTTP_BY_NUMBER[code]


def _status(code: grpc.StatusCode, message: str, details: Sequence[Message]) -> status_pb2.Status:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    return status
