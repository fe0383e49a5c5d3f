"""The binary data extension of the Open Inference Protocol: tensors as raw bytes after the JSON of an HTTP body.

Triton's clients use it by default. As over gRPC, the server answers raw contents with raw contents.
"""

from collections.abc import Mapping

from service.errors import InvalidArgument, shortened

JSON_LENGTH = "Inference-Header-Content-Length"
"""The header with the length of a body's JSON in bytes."""
SIZE = "binary_data_size"
"""The parameter with the length of a tensor's raw bytes."""


def split(body: bytes | bytearray, headers: Mapping[str, str]) -> tuple[bytes | bytearray, bytes]:
    """Returns a body's JSON, and the bytes after it.

    Raises:
        InvalidArgument: the header is malformed, or exceeds the body.
    """
    length = headers.get(JSON_LENGTH)
    if length is None:
        return body, b""
    digits = length.isascii() and length.isdigit() and len(length) <= len(str(len(body)))
    if not (digits and int(length) <= len(body)):
        raise InvalidArgument(JSON_LENGTH, f"{shortened(length)!r} is not a length within the body")
    return body[: int(length)], bytes(body[int(length) :])
