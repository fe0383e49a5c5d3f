"""`python -m service.healthcheck`: asks the server on this machine whether it serves; exit status 0 if it does.

For containers and other supervisors. Reads the port from the server's own configuration in the environment. With TLS it
needs the health port: the other one answers under the names of its certificate, and maybe only who has one too.
"""

import os
import sys
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.config import parse

TIMEOUT_SECONDS = 2.0


def main() -> int:
    """Returns 0 when the server is SERVING, 1 otherwise, with one line that says what it is instead."""
    config = parse(sys.argv[1:], os.environ)
    if config.tls_cert and not config.health_port:
        print("with --tls-cert this needs --health-port")
        return 1
    # What listens on every address answers on the loopback one. (Nothing is bound here.)
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(config.host, config.host)  # nosec
    with grpc.insecure_channel(f"{host}:{config.health_port or config.port}") as channel:
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
