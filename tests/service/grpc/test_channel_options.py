from service.config import Config
from service.grpc.channel_options import channel_arguments


def test_the_transport_gets_the_bounds_of_the_configuration() -> None:
    arguments = dict(channel_arguments(Config(max_request_bytes=3, max_pending_calls=7, max_connection_age=1.5)))
    assert arguments == {
        "grpc.so_reuseport": 1,
        "grpc.max_receive_message_length": 3,
        "grpc.absolute_max_metadata_size": 16_384,
        "grpc.max_concurrent_streams": 100,
        "grpc.server.max_pending_requests": 7,
        "grpc.server.max_pending_requests_hard_limit": 14,
        "grpc.keepalive_time_ms": 60_000,
        "grpc.keepalive_timeout_ms": 20_000,
        "grpc.http2.min_ping_interval_without_data_ms": 10_000,
        "grpc.max_connection_idle_ms": 600_000,
        "grpc.max_connection_age_ms": 1500,
    }
