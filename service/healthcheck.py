"""`python -m service.healthcheck` asks the server on this machine whether it serves; its exit status is 0 if it does.

For containers and service managers. It takes the server's options and environment variables. With TLS it needs the
health port, because the gRPC port may require a certificate authority or a client certificate.
"""

import os
import sys
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.address import connectable, grpc_target
from service.config import parse

TIMEOUT_SECONDS = 2.0


def main() -> int:
    """Returns 0 if the server is SERVING, otherwise 1. Prints the status in one line."""
    config = parse(sys.argv[1:], os.environ)
    if config.tls_cert and not config.health_port:
        print("with --tls-cert this needs --health-port, which is not encrypted")
        return 1
    target = grpc_target(connectable(config.host), config.health_port or config.port)
    with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            health: Any = health_pb2_grpc.HealthStub(channel)
            status = health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_SECONDS).status
        except grpc.RpcError as error:
            print(error.code().name)
            return 1
    print(health_pb2.HealthCheckResponse.ServingStatus.Name(status))
    return 0 if status == health_pb2.HealthCheckResponse.SERVING else 1


if __name__ == "__main__":
    sys.exit(main())
