"""The native transport in Rust, below `service.grpc.native_server`. One thread, the event loop's, uses a server."""

import builtins
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from service.inference.servable import AnswerQueue

class Event:
    """The kinds of event. An event is a tuple of its kind and the items that the kind lists."""

    CALL: int
    """A call has arrived. Items: its number, the `Call`, the method's number, and the first `Message` or None."""
    MESSAGE: int
    """The next message of a request has arrived. Items: the call's number, and the `Message` or None at the end."""
    SENT: int
    """HTTP/2 has accepted a message. Item: the call's number."""
    CANCELLED: int
    """The client no longer waits for the answer. Item: the call's number."""
    HANDSHAKE: int
    """A TLS handshake needs the current certificates. Item: the `Handshake`."""
    STOPPED: int
    """All connections have ended. No items."""
    PANICKED: int
    """A fault of the transport has ended a call or a connection. Item: its place in the source."""
    ANSWERED: int
    """Answers wait in an `AnswerQueue`. Item: its function `wake`."""

class Server:
    """Serves gRPC on threads of its own.

    Args:
        options: channel arguments. Unknown ones are ignored.
        threads: number of threads that share the ports.
    """

    def __new__(cls, options: list[tuple[str, int]], threads: int) -> Server: ...
    def add_method(self, path: str) -> int:
        """Registers a method, `/service/method`. Returns its number, from 0."""

    def set_overload_status(self, status: bytes) -> None:
        """Sets the serialized `google.rpc.Status` of a call that is refused because too many wait."""

    def add_fast_method(
        self, path: str, kind: Literal["classify", "classify-stream", "infer"], metrics: dict[str, Any]
    ) -> None:
        """Has plain requests of a method answered without Python.

        Args:
            path: the path of a method that has been added.
            kind: the kind of its messages.
            metrics: the values of its series: `started`; `handled`, by the codes OK, CANCELLED, DEADLINE_EXCEEDED,
                RESOURCE_EXHAUSTED and INTERNAL; the histogram `seconds`. A histogram is its values and its bounds.
        """

    def set_request_limits(self, limits: dict[str, int]) -> None:
        """Sets the limits of requests that are answered without Python: `texts` and `text_bytes` of a request, and
        `queue_texts` and `queue_bytes` of the requests that wait for one model.
        """

    def set_request_ids(self) -> None:
        """Gives ids to calls that are answered without Python: the client's, or new ones."""

    def set_tokens(self, path: Path, stamp: tuple[int, ...], digests: list[bytes]) -> None:
        """Requires tokens: a call is answered without Python only if it has a token, and the file has not changed.

        Args:
            path: the file of the tokens.
            stamp: the file's modification time in ns, size, inode and device when it was read.
            digests: the SHA-256 of each token.
        """

    def answer_queue(self, share: float, max_texts: int, max_bytes: int, wake: Callable[[], None]) -> AnswerQueue:
        """Returns a queue for the answers of a version.

        Args:
            share: the share of requests to take, 0 to 1.
            max_texts: maximum number of texts that wait.
            max_bytes: maximum number of bytes of text that wait.
            wake: the item of the event for the first answer, and for the first one after `is_empty` was true.
        """

    def publish(self, versions: list[dict[str, Any]]) -> None:
        """Replaces the model versions that are answered without Python.

        Args:
            versions: for each version: `name`; `number`; `in_service`, whether it is; `labels`; `inline_bytes`, the
                size of texts that are classified at once; `reads_any_text`, whether it does; `thresholds` by label, or
                None; `network`, the capsule; `metrics`; `overload`, the serialized `google.rpc.Status` of a request
                that finds the queue full; and `answers`, the `AnswerQueue` of its answers, or None. The metrics are
                the values of `texts` by label; the histograms `inference`, `queue`, `batch`, `unknown` and
                `probability`; and the values of `dropped` requests, by the reasons deadline, cancelled and overload.

        Raises:
            ValueError: a version's number of labels is not that of its network's classes. The old versions stay.
        """

    def add_port(self, host: str, port: int, tls: bool) -> int:
        """Listens on a host's addresses. Returns the port.

        Raises:
            OSError: it cannot be listened on.
        """

    def add_unix_socket(self, path: str, tls: bool) -> None:
        """Listens on a socket of the file system.

        Raises:
            OSError: it cannot be listened on.
        """

    def set_certificates(self, chain: bytes, key: bytes, client_authorities: bytes | None) -> None:
        """Sets the certificates of handshakes from now on, in PEM.

        Raises:
            ValueError: these are not certificates, or do not belong together. The old ones stay.
        """

    def start(self) -> int:
        """Starts serving. Returns a descriptor that is readable while there are events."""

    def take(self) -> list[tuple[Any, ...]]:
        """Takes the next events. The descriptor stays readable while some are left."""

    def drain(self) -> None:
        """Accepts no further connections and calls."""

    def close(self) -> None:
        """Ends all calls and connections."""

class Call:
    """A call. Its methods have no effect after the call has ended."""

    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """Returns the client's metadata."""

    def peer(self) -> str:
        """Returns the client's address, as gRPC writes it."""

    def time_remaining(self) -> float | None:
        """Returns the seconds until the deadline, negative after it; None without a deadline."""

    def accepts(self, name: str) -> bool:
        """Tells whether the client accepts messages of this encoding."""

    def read(self) -> None:
        """Requests the next message. An event brings it."""

    def send_headers(
        self, metadata: Iterable[tuple[str, str | bytes]] | None, encoding_name: str | None = None
    ) -> None:
        """Sends the headers.

        Raises:
            ValueError: HTTP/2 cannot carry the metadata.
        """

    def send_message(self, message: bytes, encoding_name: str | None = None) -> None:
        """Sends a message. An event tells when HTTP/2 has accepted it."""

    def answer(
        self,
        message: bytes,
        encoding_name: str | None,
        code: int,
        details: str,
        trailing: Iterable[tuple[str, str | bytes]] | None = None,
    ) -> None:
        """Sends the only message and the status.

        Raises:
            ValueError: HTTP/2 cannot carry the metadata.
        """

    def finish(self, code: int, details: str, trailing: Iterable[tuple[str, str | bytes]] | None = None) -> None:
        """Sends the status.

        Raises:
            ValueError: HTTP/2 cannot carry the metadata.
        """

class MessageError(Exception):
    """A message that ends its call. Its arguments are the status's code, a number, and message."""

class Message:
    """A message of a request, as it was received."""

    def bytes(self) -> builtins.bytes:
        """Returns the message, decompressed.

        Raises:
            MessageError: the message cannot be decompressed, or is too large then.
        """

class Handshake:
    """A TLS handshake that waits for the certificates."""

    def proceed(self) -> None:
        """Continues with the current certificates."""
