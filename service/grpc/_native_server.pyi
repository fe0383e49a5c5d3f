"""The native transport in Rust, below `service.grpc.native_server`. One thread, the event loop's, uses a server."""

import builtins
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from service.inference.servable import AnswerQueue

class Event:
    """The kinds of event; each is a tuple that begins with its kind."""

    CALL: int
    """A call has come: its number, the `Call`, the method's number, the first `Message` if it is here already."""
    MESSAGE: int
    """The next message of a request has come: the call's number, the `Message` or None at the end."""
    SENT: int
    """HTTP/2 has taken a message: the call's number."""
    CANCELLED: int
    """Nobody waits for the answer any more: the call's number."""
    HANDSHAKE: int
    """A TLS handshake waits for the certificates as they are now: the `Handshake`."""
    STOPPED: int
    """All connections have ended."""
    PANICKED: int
    """The transport has failed, and ended a call or a connection for it: where in its source."""
    ANSWERED: int
    """Answers wait in an `AnswerQueue`: what it was given to call then."""

class Server:
    """Serves gRPC on threads of its own.

    Args:
        options: channel arguments; those that it does not know are ignored.
        threads: how many threads share the ports.
    """

    def __new__(cls, options: list[tuple[str, int]], threads: int) -> Server: ...
    def add_method(self, path: str) -> int:
        """Registers a method, `/service/method`. Returns its number: they count from 0."""

    def set_overload_status(self, status: bytes) -> None:
        """Sets the serialized `google.rpc.Status` of a call for which there is no room."""

    def add_fast_method(
        self, path: str, kind: Literal["classify", "classify-stream", "infer"], metrics: dict[str, Any]
    ) -> None:
        """Has plain requests of a method answered without Python.

        Args:
            path: the method's, which has been added.
            kind: what its messages are.
            metrics: the values of its series `started`; of `handled` by code: OK, CANCELLED, DEADLINE_EXCEEDED,
                RESOURCE_EXHAUSTED, INTERNAL; the histogram `seconds`. A histogram is its values and its upper bounds.
        """

    def set_request_limits(self, limits: dict[str, int]) -> None:
        """Sets what requests may hold that are answered without Python, `texts` and `text_bytes` of one, and what may
        wait for one model, `queue_texts` and `queue_bytes`.
        """

    def set_request_ids(self) -> None:
        """Gives calls ids that are answered without Python, too: the client's, or new ones."""

    def set_tokens(self, path: Path, stamp: tuple[int, ...], digests: list[bytes]) -> None:
        """Has calls answered without Python only if they have a token of a file that is as it was read.

        Args:
            path: the file's.
            stamp: its time of change in ns, size, inode and device then.
            digests: each token's SHA-256.
        """

    def answer_queue(self, share: float, max_texts: int, max_bytes: int, wake: Callable[[], None]) -> AnswerQueue:
        """Returns a queue for the answers of a version.

        Args:
            share: the share of requests that it takes, 0 to 1.
            max_texts: how many texts may wait.
            max_bytes: how many bytes of text may wait.
            wake: what an event names when the first answer comes, and when one comes after `is_empty` was true.
        """

    def publish(self, versions: list[dict[str, Any]]) -> None:
        """Replaces the model versions that are answered without Python.

        Args:
            versions: of each `name`, `number`, whether it is `in_service`, `labels`, `inline_bytes` of text that it
                classifies at once, whether it `reads_any_text`, its `thresholds` by label or None, its `network`'s
                capsule, its `metrics`, `overload`, the serialized `google.rpc.Status` of a request for which its queue
                has no room, and `answers`, the `AnswerQueue` that gets its answers, or None. The metrics are the values
                of its `texts` by label; its histograms `inference`, `queue`, `batch`, `unknown` and `probability`; and
                the values of its requests dropped for `overload`.

        Raises:
            ValueError: a version's labels are not as many as its network's classes; the versions of before stay.
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
            ValueError: they are none, or do not belong together; those of before stay.
        """

    def start(self) -> int:
        """Begins to serve. Returns the descriptor that is readable while there are events."""

    def take(self) -> list[tuple[Any, ...]]:
        """Takes the next events. The descriptor stays readable while some are left."""

    def drain(self) -> None:
        """Takes no further connections and calls."""

    def close(self) -> None:
        """Ends all calls and connections."""

class Call:
    """A call. What is asked of it after its end has no effect."""

    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """Returns the client's metadata."""

    def peer(self) -> str:
        """Returns the client's address, as gRPC writes it."""

    def time_remaining(self) -> float | None:
        """Returns the seconds until the deadline, negative after it; None: there is none."""

    def accepts(self, name: str) -> bool:
        """Tells whether the client takes messages of this encoding."""

    def read(self) -> None:
        """Asks for the next message of the request: an event brings it."""

    def send_headers(
        self, metadata: Iterable[tuple[str, str | bytes]] | None, encoding_name: str | None = None
    ) -> None:
        """Sends the headers.

        Raises:
            ValueError: HTTP/2 cannot carry the metadata.
        """

    def send_message(self, message: bytes, encoding_name: str | None = None) -> None:
        """Sends a message: an event tells when HTTP/2 has taken it."""

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
    """A message of a request, as it came."""

    def bytes(self) -> builtins.bytes:
        """Returns the message, decompressed.

        Raises:
            MessageError: it cannot be decompressed, or has more bytes then than the server takes.
        """

class Handshake:
    """A TLS handshake that waits for the certificates."""

    def proceed(self) -> None:
        """Goes on with the certificates that are set."""
