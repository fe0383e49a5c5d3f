"""The limits that the transport enforces: on connections, streams, pings, and calls that have not begun.

With grpcio, a call costs the event loop about 300 us, whatever its answer. gRPC itself, below Python, refuses a call at
a tenth of that cost, with CANCELLED and no details.
"""

from service.config import Config

MAX_STREAMS = 100
"""Maximum calls in flight on one connection: the minimum that RFC 9113 recommends. Further calls wait in the client."""
METADATA_BYTES = 16 * 1024
"""Maximum size of one call's metadata, counted as in RFC 9113. The server refuses more with a reason."""
METADATA_OVERHEAD = 32
"""Size that RFC 9113 counts for each entry in addition to its key and value."""
PING_SECONDS = 10
"""Minimum time between a client's pings: the shortest keepalive time that gRPC's specification allows."""
KEEPALIVE_SECONDS = 60
"""Time without data from a client after which the server pings it."""
KEEPALIVE_ANSWER_SECONDS = 20
"""Time that a client has to answer the ping before its connection is closed."""
IDLE_SECONDS = 600
"""Time after which a connection without calls is closed. A gRPC client reconnects when it needs to."""

_IDENTITY, _GZIP = 1 << 0, 1 << 2
"""Bits of grpc/impl/compression_types.h."""

GRPCIO = (
    # grpcio refuses too large metadata without an error message: some calls above the first limit, all above the
    # second. So both limits are higher, and the instrumentation refuses metadata above METADATA_BYTES.
    ("grpc.max_metadata_size", 4 * METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", 4 * METADATA_BYTES),
    # grpcio would decompress a message before the call's token is checked. `service.grpc.decoding` does it afterwards.
    ("grpc.per_message_decompression", 0),
    ("grpc.compression_enabled_algorithms_bitset", _IDENTITY | _GZIP),
    # grpcio also pings to measure bandwidth, and by default waits a minute for the answer.
    ("grpc.http2.ping_timeout_ms", KEEPALIVE_ANSWER_SECONDS * 1000),
)
"""Channel arguments of grpcio's server only, which override `channel_arguments`."""

SHARED_PORT = ("grpc.so_reuseport", 1)
"""Several workers listen on one port, and the kernel distributes connections among them."""


def channel_arguments(config: Config) -> list[tuple[str, int]]:
    """Returns the channel arguments of a worker's server."""
    return [
        SHARED_PORT,
        ("grpc.max_receive_message_length", config.max_request_bytes),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES),
        ("grpc.max_concurrent_streams", MAX_STREAMS),
        # Each method has its own queue, so a flood of Classify does not block health. Between the two limits gRPC
        # refuses calls at random, with increasing probability; above the second, all of them.
        ("grpc.server.max_pending_requests", config.max_pending_calls),
        ("grpc.server.max_pending_requests_hard_limit", 2 * config.max_pending_calls),
        ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_ANSWER_SECONDS * 1000),
        ("grpc.http2.min_ping_interval_without_data_ms", PING_SECONDS * 1000),
        ("grpc.max_connection_idle_ms", IDLE_SECONDS * 1000),
        # New calls go to a new connection. Calls in flight finish on the old one without a time limit: a stream that is
        # cut off cannot be resumed.
        ("grpc.max_connection_age_ms", round(config.max_connection_age * 1000)),
    ]
