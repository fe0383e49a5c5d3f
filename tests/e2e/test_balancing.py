"""Several servers for one client, balanced by the client or by a proxy, each request on its own."""

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.load import Load, counters, texts, under_load
from tests.server_process import ServerProcess, serving

ONE_WORKER = ("--workers", "1")

NGINX = """
daemon off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    upstream servers {{
        {servers}
        keepalive 16;
    }}
    server {{
        listen 127.0.0.1:{port} http2;
        location / {{
            grpc_pass grpc://servers;
        }}
    }}
}}
"""


@contextmanager
def balanced_by_the_client(addresses: Sequence[str], folder: Path) -> Iterator[Sequence[str]]:
    yield addresses


@contextmanager
def balanced_by_nginx(addresses: Sequence[str], folder: Path) -> Iterator[Sequence[str]]:
    if not shutil.which("nginx"):
        pytest.skip("needs nginx (Debian: nginx-light)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    servers = "\n".join(f"server {address} fail_timeout=1s;" for address in addresses)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, servers=servers, port=port))
    with subprocess.Popen(["nginx", "-p", folder, "-c", folder / "nginx.conf"]) as nginx:
        try:
            yield [f"127.0.0.1:{port}"]  # the client tries again until it listens
        finally:
            nginx.terminate()


@contextmanager
def killed_at_the_end(models: Path) -> Iterator[ServerProcess]:
    running = ServerProcess(models, *ONE_WORKER)
    try:
        running.event("serving")
        yield running
    finally:
        running.process.kill()
        running.wait()


def go_on_until_it_has_its_share(load: Load, server: ServerProcess) -> None:
    for _ in range(1000):
        if texts(counters(server)):
            return
        load.go_on()
    pytest.fail("the server gets no call")


@pytest.mark.parametrize("balanced", [balanced_by_the_client, balanced_by_nginx])
def test_no_call_fails_when_one_of_three_servers_is_killed_and_replaced_under_load(
    balanced: Callable[[Sequence[str], Path], AbstractContextManager[Sequence[str]]], tiny_models: Path, tmp_path: Path
) -> None:
    with (
        serving(tiny_models, *ONE_WORKER) as first,
        serving(tiny_models, *ONE_WORKER) as second,
        killed_at_the_end(tiny_models) as third,
    ):
        address = third.address
        with (
            balanced([first.address, second.address, address], tmp_path) as targets,
            under_load(*targets) as load,
        ):
            for server in (first, second, third):  # over the client's one connection to the proxy, too
                go_on_until_it_has_its_share(load, server)
            third.process.kill()
            third.wait()
            load.go_on()
            with serving(tiny_models, *ONE_WORKER, "--port", address.rpartition(":")[2]) as replacement:
                go_on_until_it_has_its_share(load, replacement)
