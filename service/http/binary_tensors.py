"""The binary data extension of the Open Inference Protocol over HTTP: tensors as raw bytes, behind the JSON of a body.

Clients of Triton send texts so unless they are told not to. As over gRPC, raw contents are answered raw.
"""

from collections.abc import Mapping

from service.errors import InvalidArgument, shortened

JSON_LENGTH = "Inference-Header-Content-Length"
"""The header that says how many bytes of a body are JSON."""
SIZE = "binary_data_size"
"""The parameter of a tensor that says how many of those behind it are its own."""


def split(body: bytes, headers: Mapping[str, str]) -> tuple[bytes, bytes]:
    """Returns a body's JSON, and the bytes behind it.

    Raises:
        InvalidArgument: the header is no length of a part of the body.
    """
    length = headers.get(JSON_LENGTH)
    if length is None:
        return body, b""
    digits = length.isascii() and length.isdigit() and len(length) <= len(str(len(body)))
    if not (digits and int(length) <= len(body)):
        raise InvalidArgument(JSON_LENGTH, f"{shortened(length)!r} is no number of bytes that the body has")
    return body[: int(length)], body[int(length) :]
