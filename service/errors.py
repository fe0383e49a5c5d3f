"""The errors of a start or a request. `service.grpc.status` maps those of requests to gRPC and HTTP statuses."""

from pathlib import Path

from textmodel import ModelError

_MAX_NAME_LENGTH = 64


class StartError(Exception):
    """The server cannot start. The message says why and what to do."""


class RequestError(Exception):
    """The request is invalid or cannot be served. The client gets the message."""


class InvalidArgument(RequestError):
    """A field of the request is wrong.

    Args:
        field: the path of the field, such as `texts[3]`.
        description: what is wrong and what would be right.
    """

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}")
        self.field = field
        self.description = description


class NotFound(RequestError):
    """There is no such model, version or service.

    Args:
        resource: the requested resource, such as `models/imdb/versions/7`.
        description: what is available instead.
        kind: the type of the resource.
    """

    def __init__(self, resource: str, description: str, kind: str = "text_classifier.v1.Model") -> None:
        super().__init__(f"{resource} not found: {description}")
        self.kind = kind
        self.resource = resource
        self.description = description


class Unauthenticated(RequestError):
    """The call has no valid token."""

    def __init__(self) -> None:
        super().__init__("send a valid bearer token, as metadata or a header: 'authorization: Bearer TOKEN'")


class NotReady(RequestError):
    """The model or the server is not ready yet.

    Args:
        description: what is not ready, and why.
    """

    def __init__(
        self, description: str = "no model is ready yet; the health service tells when the server serves"
    ) -> None:
        super().__init__(description)


class DeadlineExceeded(RequestError):
    """The client's deadline passed while the request waited."""

    def __init__(self) -> None:
        super().__init__("the deadline passed while the request waited")


class Overloaded(RequestError):
    """A queue is full.

    Args:
        queue: the queue, such as `the queue of model 'imdb'`.
        retry_seconds: time after which to try again.
    """

    def __init__(self, queue: str, retry_seconds: float) -> None:
        super().__init__(f"{queue} is full, try again in {retry_seconds:g} s")
        self.retry_seconds = retry_seconds


class TooManyCalls(RequestError):
    """Too many calls of a method are open and wait for their clients.

    Args:
        method: the name of the method.
        limit: the maximum per worker.
    """

    def __init__(self, method: str, limit: int) -> None:
        super().__init__(f"{limit} calls of {method} wait for their clients already; end some, or try again later")


class TooManyRequests(RequestError):
    """Too many HTTP requests are in flight.

    Args:
        limit: the maximum per worker.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} requests are in flight already; try again later")


class TooManyBytes(RequestError):
    """The bodies of the requests in flight leave no room for another.

    Args:
        limit: the maximum size of all bodies per worker, in bytes.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(f"large requests hold {limit} bytes already; try again later")


class ForeignHost(RequestError):
    """The request names a host that is not one of the server's.

    Args:
        host: the host that the request names.
    """

    def __init__(self, host: str) -> None:
        super().__init__(f"Host: {shortened(host)!r} is not a name of this server; allow it with --allowed-hosts")


class RequestTooLarge(RequestError):
    """The request has more bytes than the server accepts.

    Args:
        description: what is too large, and the limit.
    """


class RequestTimeout(RequestError):
    """The request did not arrive in time.

    Args:
        description: what did not arrive, and the limit.
    """


class UnsupportedEncoding(RequestError):
    """The request is encoded in a way that the server does not decode.

    Args:
        description: the encoding, and what would be right.
    """


class CannotExplain(RequestError):
    """This version's answers cannot be explained.

    Args:
        resource: the version, such as `models/imdb/versions/7`.
        reason: why not.
    """

    def __init__(self, resource: str, reason: str) -> None:
        super().__init__(f"{resource} cannot be explained: {reason}")
        self.resource = resource
        self.reason = reason


class CannotAbstain(RequestError):
    """This version has no thresholds for abstention.

    Args:
        resource: the version, such as `models/imdb/versions/7`.
        reason: why not.
    """

    def __init__(self, resource: str, reason: str) -> None:
        super().__init__(f"{resource} has no thresholds: {reason}")
        self.resource = resource
        self.reason = reason


def shortened(name: str) -> str:
    """Returns a name from a request, cut for an error, since errors travel in HTTP/2 headers of 8 KiB."""
    return name if len(name) <= _MAX_NAME_LENGTH else f"{name[:_MAX_NAME_LENGTH]}…"


def reason_for_clients(error: ModelError, folder: Path, whole: str = "the version folder") -> str:
    """Returns the reason of an error, for clients: paths are relative to `folder`, and `whole` stands for it."""
    reason = str(error).replace(f"{folder}/", "").replace(str(folder), whole)
    return reason.encode(errors="backslashreplace").decode()  # protobuf needs UTF-8, which a file's name may not be
