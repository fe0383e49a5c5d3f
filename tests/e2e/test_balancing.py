"""Several servers for one client, balanced by the client or by a proxy, each request on its own."""

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.docs import markdown
from tests.load import Load, counters, texts, under_load
from tests.server_process import ROOT, ServerProcess, serving, wait_until_serving
from text_classifier import Client

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
"""Of the servers; they have one port."""
PROXY_HOST = "127.0.0.9"

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
    {documented}
}}
"""


def documented(language: str, port: int) -> str:
    """Returns the configuration in docs/deployment.md, of hosts 10.0.0.N there, for these hosts and this port."""
    (block,) = [token.content for token in markdown.tokens(ROOT / "docs" / "deployment.md") if token.info == language]
    return block.replace("10.0.0.", "127.0.0.").replace("50051", str(port))


@contextmanager
def running(*command: str | Path, stderr: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a program around the block."""
    if not shutil.which(command[0]):
        pytest.skip(f"needs {command[0]}")
    with subprocess.Popen(command, stderr=stderr) as process:
        try:
            yield process
            assert process.poll() is None
        finally:
            process.terminate()


@contextmanager
def balanced_by_the_client_over_a_list(port: int, folder: Path) -> Iterator[str]:
    yield "ipv4:" + ",".join(f"{host}:{port}" for host in HOSTS)


@contextmanager
def balanced_by_the_client_over_a_name(port: int, folder: Path) -> Iterator[str]:
    options = ("--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null", "--pid-file")
    names = ("--no-resolv", "--no-hosts", "--local=/test/", *(f"--host-record=servers.test,{host}" for host in HOSTS))
    listen = ("--bind-interfaces", f"--listen-address={PROXY_HOST}", f"--port={port}")
    with running("dnsmasq", *options, *names, *listen, stderr=subprocess.PIPE) as dnsmasq:
        assert dnsmasq.stderr
        assert any(b"started" in line for line in dnsmasq.stderr)
        yield f"dns://{PROXY_HOST}:{port}/servers.test:{port}"


@contextmanager
def balanced_by_nginx(port: int, folder: Path) -> Iterator[str]:
    file = folder / "nginx.conf"
    file.write_text(NGINX.format(folder=folder, documented=documented("nginx", port)))
    with running("nginx", "-p", folder, "-c", file):
        wait_until_serving(f"{PROXY_HOST}:{port}")
        yield f"{PROXY_HOST}:{port}"


@contextmanager
def balanced_by_haproxy(port: int, folder: Path) -> Iterator[str]:
    file = folder / "haproxy.cfg"
    file.write_text(documented("haproxy", port))
    with running("haproxy", "-db", "-f", file):
        wait_until_serving(f"{PROXY_HOST}:{port}")
        yield f"{PROXY_HOST}:{port}"


def at(host: str, port: int | str = 0) -> Sequence[str]:
    """The flags of a server at this address."""
    return ("--workers", "1", "--host", host, "--port", str(port))


@contextmanager
def killed_at_the_end(models: Path, *flags: str) -> Iterator[ServerProcess]:
    server = ServerProcess(models, *flags)
    try:
        server.event("serving")
        yield server
    finally:
        server.process.kill()
        server.wait()


def go_on_until_it_has_its_share(load: Load, server: ServerProcess) -> None:
    for _ in range(1000):
        if texts(counters(server)):
            return
        load.go_on()
    pytest.fail("the server gets no call")


@pytest.mark.parametrize(
    "balanced",
    [
        balanced_by_the_client_over_a_list,
        balanced_by_the_client_over_a_name,
        balanced_by_nginx,
        balanced_by_haproxy,
    ],
)
def test_no_call_fails_when_one_of_three_servers_is_killed_and_replaced_under_load(
    balanced: Callable[[int, Path], AbstractContextManager[str]], tiny_models: Path, tmp_path: Path
) -> None:
    with serving(tiny_models, *at(HOSTS[0])) as first:
        port = first.event("started")["port"]
        with (
            serving(tiny_models, *at(HOSTS[1], port)) as second,
            killed_at_the_end(tiny_models, *at(HOSTS[2], port)) as third,
            balanced(port, tmp_path) as target,
            under_load(target) as load,
        ):
            for server in (first, second, third):  # over the client's one connection to the proxy, too
                go_on_until_it_has_its_share(load, server)
            with Client(target) as client:  # a proxy has a limit of its own
                client.classify(["film " * 200_000] * 10, model="topic", timeout=60)
            third.process.kill()
            third.wait()
            load.go_on()
            with serving(tiny_models, *at(HOSTS[2], port)) as replacement:
                go_on_until_it_has_its_share(load, replacement)
