"""What gRPC itself bounds: connections, streams, pings, and calls that have arrived and not begun.

A call costs the event loop some 300 us whatever it is answered, an error too. What is to be turned away cheaply has to
be turned away below Python: gRPC does it for a tenth of that, with CANCELLED and no details.
"""

from service.config import Config

STREAMS = 100
"""Calls in flight on one connection: what RFC 9113 recommends as the least. A gRPC client lets further ones wait."""
METADATA_BYTES = 16 * 1024
"""Maximum size of one call's metadata, counted as RFC 9113 does. The server refuses more with a status that says so."""
METADATA_OVERHEAD = 32
"""What RFC 9113 counts for each entry beside its key and value."""
_READ_METADATA_BYTES = 4 * METADATA_BYTES
"""Metadata up to this size are read at all. Past it gRPC's core refuses the call, without a message."""
PING_SECONDS = 10
"""A client may ping so often: the shortest keepalive time that gRPC's specification lets it choose."""
KEEPALIVE_SECONDS = 60
"""After so long without a word from a client the server pings it."""
KEEPALIVE_ANSWER_SECONDS = 20
"""A client that does not answer the ping for so long has gone."""
IDLE_SECONDS = 600
"""A connection without calls is closed after so long; a gRPC client opens another when it needs one."""

_IDENTITY, _GZIP = 1 << 0, 1 << 2
"""Bits of grpc/impl/compression_types.h."""

SHARED_PORT = ("grpc.so_reuseport", 1)
"""Several workers listen on a port, and the kernel spreads connections over them."""


def channel_arguments(config: Config) -> list[tuple[str, int]]:
    """Returns the arguments of a worker's `grpc.aio.server`."""
    return [
        SHARED_PORT,
        ("grpc.max_receive_message_length", config.max_request_bytes),
        # gRPC would inflate a message before the call's token is checked: `service.grpc.decoding` does it afterwards.
        ("grpc.per_message_decompression", 0),
        ("grpc.compression_enabled_algorithms_bitset", _IDENTITY | _GZIP),
        ("grpc.max_metadata_size", _READ_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", _READ_METADATA_BYTES),
        ("grpc.max_concurrent_streams", STREAMS),
        # Each method has its own queue: a flood of Classify takes no place from health. Over the first bound calls are
        # turned away at random, the likelier the closer to the second; all beyond.
        ("grpc.server.max_pending_requests", config.max_pending_calls),
        ("grpc.server.max_pending_requests_hard_limit", 2 * config.max_pending_calls),
        ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_ANSWER_SECONDS * 1000),
        ("grpc.http2.min_ping_interval_without_data_ms", PING_SECONDS * 1000),
        ("grpc.max_connection_idle_ms", IDLE_SECONDS * 1000),
        # New calls go to a new connection, those in flight end on the old one however long they take: no grace is set,
        # since a stream that is cut off cannot be resumed.
        ("grpc.max_connection_age_ms", round(config.max_connection_age * 1000)),
    ]
