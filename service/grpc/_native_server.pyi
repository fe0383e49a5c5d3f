"""The native transport in Rust, below `service.grpc.native_server`. One thread, the event loop's, uses a server."""

from collections.abc import Iterable
from typing import Any

class Event:
    """The kinds of event; each is a tuple that begins with its kind."""

    CALL: int
    """A call has come: its number, the `Call`, the method's number, the request or None if it is a stream."""
    MESSAGE: int
    """The next message of a request stream has come: the call's number, the message or None at the end."""
    SENT: int
    """HTTP/2 has taken a message: the call's number."""
    CANCELLED: int
    """Nobody waits for the answer any more: the call's number."""
    HANDSHAKE: int
    """A TLS handshake waits for the certificates as they are now: the `Handshake`."""
    STOPPED: int
    """All connections have ended."""

class Server:
    """Serves gRPC on threads of its own.

    Args:
        options: channel arguments; those that it does not know are ignored.
        threads: how many threads share the ports.
    """

    def __new__(cls, options: list[tuple[str, int]], threads: int) -> Server: ...
    def add_method(self, path: str, request_streaming: bool) -> int:
        """Registers a method, `/service/method`. Returns its number: they count from 0."""

    def set_overload_status(self, details: bytes) -> None:
        """Sets the serialized `google.rpc.Status` of a call for which there is no room."""

    def add_port(self, host: str, port: int, tls: bool) -> int:
        """Listens on a host's addresses. Returns the port.

        Raises:
            OSError: it cannot be listened on.
        """

    def add_unix_socket(self, path: str) -> None:
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

class Handshake:
    """A TLS handshake that waits for the certificates."""

    def proceed(self) -> None:
        """Goes on with the certificates that are set."""
