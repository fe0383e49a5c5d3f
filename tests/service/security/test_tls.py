"""TLS and mutual TLS: the real server with certificates of this run, replaced while it runs."""

import re
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from service.errors import StartError
from service.security.tls import TlsFiles, server_context
from tests.addresses import OWN_HOST, free_port
from tests.certificates import PemFiles, chain, channel_credentials
from tests.server_process import ROOT, ServerProcess, serving
from text_classifier import Client
from text_classifier.v1 import text_classifier_pb2 as pb2
from text_classifier.v1 import text_classifier_pb2_grpc as pb2_grpc

ONE = ("--workers", "1")  # each worker reads the files for itself, when it gets a connection


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> PemFiles:
    pem = PemFiles(tmp_path)
    pem.write(authority.issue_cert("127.0.0.1"))
    return pem


@contextmanager
def connected(server: ServerProcess, credentials: grpc.ChannelCredentials) -> Iterator[Client]:
    """A client; its first call makes a connection, since gRPC shares none between these credentials and others."""
    with Client(server.address, credentials=credentials, timeout=60) as client:
        yield client


def served_certificate(port: int, authority: trustme.CA, client: trustme.LeafCert | None = None) -> bytes:
    """Makes a handshake and returns what the server showed, in DER."""
    context = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    if client:
        client.configure_cert(context)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as encrypted,
    ):
        shown = encrypted.getpeercert(binary_form=True)
        assert shown
        return shown


def der(leaf: trustme.LeafCert) -> bytes:
    return ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())


def get(server: ServerProcess, context: ssl.SSLContext) -> str:
    url = f"https://127.0.0.1:{server.event('metrics')['port']}/metrics"
    with urllib.request.urlopen(url, timeout=60, context=context) as response:
        return str(response.read().decode())


def refused(server: ServerProcess, context: ssl.SSLContext) -> None:
    """Waits for what the server says of the client's certificate, and sends no request: closing on one that was not
    read, the server's TCP would reset the connection, and its alert could be lost.
    """
    with (
        socket.create_connection(("127.0.0.1", server.event("metrics")["port"]), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as encrypted,
    ):
        encrypted.recv(1)


def test_grpc_and_metrics_are_encrypted_and_nothing_is_answered_in_the_clear(
    tiny_models: Path, files: PemFiles, authority: trustme.CA
) -> None:
    with serving(tiny_models, *ONE, *files.flags) as server:
        with connected(server, channel_credentials(authority)) as client:
            assert client.classify(["oil"], model="topic")
        assert "grpc_server_started_total" in get(
            server, ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
        )
        with pytest.raises(OSError, match=r"."):
            server.metrics()
        with Client(server.address, timeout=1) as client, pytest.raises(grpc.RpcError):
            client.models()


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_a_unix_domain_socket_is_encrypted_too(
    transport: str, tiny_models: Path, files: PemFiles, authority: trustme.CA, tmp_path: Path
) -> None:
    if transport == "native":
        pytest.importorskip("service.grpc._native_server", reason="the native transport is not built")
    target = f"unix:{tmp_path}/socket"
    flags = ("--host", target, "--http-port", "off", "--transport", transport, *files.flags)
    name = (("grpc.ssl_target_name_override", "127.0.0.1"),)
    with serving(tiny_models, *flags), grpc.secure_channel(target, channel_credentials(authority), name) as channel:
        assert pb2_grpc.TextClassifierStub(channel).ListModels(pb2.ListModelsRequest(), timeout=60).models
        with Client(target, timeout=1) as client, pytest.raises(grpc.RpcError):
            client.models()


def test_new_files_are_used_without_a_failed_call_and_a_wrong_pair_never_is(
    tiny_models: Path, files: PemFiles, authority: trustme.CA
) -> None:
    second, third = authority.issue_cert("127.0.0.1"), authority.issue_cert("127.0.0.1")
    with serving(tiny_models, *ONE, *files.flags) as server, connected(server, channel_credentials(authority)) as old:
        ports = int(server.event("started")["port"]), int(server.event("metrics")["port"])
        old.models()
        first = [served_certificate(port, authority) for port in ports]

        files.write_certificate(second)  # its key is yet to come
        for _ in range(3):
            assert [served_certificate(port, authority) for port in ports] == first
        server.event("not reloaded", what="certificates of gRPC")
        server.event("not reloaded", what="certificates of metrics")
        files.write_key(second)
        assert [served_certificate(port, authority) for port in ports] == [der(second)] * 2
        reloaded = server.event("reloaded", what="certificates of gRPC")

        files.key.write_bytes(third.private_key_pem.bytes()[:100])  # half-written
        files.certificate.write_bytes(chain(third)[:100])
        assert [served_certificate(port, authority) for port in ports] == [der(second)] * 2
        files.certificate.unlink()
        assert [served_certificate(port, authority) for port in ports] == [der(second)] * 2
        files.write(third)
        assert [served_certificate(port, authority) for port in ports] == [der(third)] * 2
        server.event("reloaded", after=reloaded, what="certificates of gRPC")

        old.models()  # on the connection of before
    reasons = [line["reason"] for line in server.log if line["event"] == "not reloaded"]
    assert len(reasons) == 6  # once for each of three changes, in each of two processes
    assert all(str(files.certificate) in reason for reason in reasons)


def test_mutual_tls_lets_in_who_has_a_certificate_of_the_authority_that_is_given_now(
    tiny_models: Path, files: PemFiles, authority: trustme.CA, tmp_path: Path
) -> None:
    clients, later_clients = trustme.CA(), trustme.CA()
    ca = tmp_path / "clients.pem"
    ca.write_bytes(clients.cert_pem.bytes())
    client, later_client = clients.issue_cert("a@b.c"), later_clients.issue_cert("a@b.c")
    with serving(tiny_models, *ONE, *files.flags, "--tls-client-ca", str(ca)) as server:
        with connected(server, channel_credentials(authority, client)) as known:
            assert known.models()
        for stranger in (None, later_client):
            with (
                connected(server, channel_credentials(authority, stranger)) as unknown,
                pytest.raises(grpc.RpcError) as error,
            ):
                unknown.models()
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE

        context = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
        with pytest.raises(OSError, match="certificate required"):
            refused(server, context)
        client.configure_cert(context)
        assert "grpc_server_started_total" in get(server, context)

        ca.write_bytes(later_clients.cert_pem.bytes())
        with connected(server, channel_credentials(authority, later_client)) as known:
            assert known.models()
        with pytest.raises(OSError, match="unknown ca"):
            refused(server, context)


def test_a_silent_client_of_metrics_keeps_no_other_waiting(
    tiny_models: Path, files: PemFiles, authority: trustme.CA
) -> None:
    with serving(tiny_models, *ONE, *files.flags) as server:
        port = int(server.event("metrics")["port"])
        with socket.create_connection(("127.0.0.1", port)):
            served_certificate(port, authority)


@pytest.mark.parametrize("mutual", [False, True], ids=["TLS", "mutual TLS"])
def test_the_health_check_works_over_the_health_port(
    tiny_models: Path, files: PemFiles, authority: trustme.CA, tmp_path: Path, mutual: bool
) -> None:
    ca = tmp_path / "clients.pem"
    ca.write_bytes(authority.cert_pem.bytes())
    flags = ["--host", OWN_HOST, *files.flags, *(["--tls-client-ca", str(ca)] if mutual else [])]
    health_port = ["--health-port", str(free_port())]

    def check(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "service.healthcheck", *flags, *more]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    with serving(tiny_models, *flags, *health_port):
        done = check(*health_port)
        assert (done.returncode, done.stdout) == (0, "SERVING\n")
        assert check().stdout == "with --tls-cert this needs --health-port, which is not encrypted\n"
        with (
            Client(f"{OWN_HOST}:{health_port[1]}", timeout=60) as client,
            pytest.raises(grpc.RpcError) as error,
        ):
            client.models()
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED  # health alone is there
    assert check(*health_port).returncode == 1


def test_a_taken_health_port_is_one_clear_line_and_status_1(tiny_models: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = ServerProcess(tiny_models, "--health-port", str(taken.getsockname()[1]))
        assert server.wait() == 1
    assert "--health-port" in server.event("cannot start")["reason"]


@pytest.mark.parametrize("wrong", ["missing", "not PEM", "another's key", "no key", "no authority"])
def test_unusable_files_are_one_clear_line_and_status_2(
    tiny_models: Path, files: PemFiles, authority: trustme.CA, tmp_path: Path, wrong: str
) -> None:
    flags, named = files.flags, str(files.certificate)
    match wrong:
        case "missing":
            files.certificate.unlink()
        case "not PEM":
            files.certificate.write_text("x")
        case "another's key":
            files.write_key(authority.issue_cert("127.0.0.1"))
            named = f"the key {files.key} does not belong to the certificate {files.certificate}"
        case "no key":
            flags, named = flags[:2], "--tls-key"
        case "no authority":
            (tmp_path / "clients.pem").write_text("x")
            flags, named = (*flags, "--tls-client-ca", str(tmp_path / "clients.pem")), "clients.pem"
    server = ServerProcess(tiny_models, *flags)
    assert server.wait() == 2
    (line,) = server.log
    assert named in line["line"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("certificate", "cert.pem holds no PEM certificate"),
        ("key", "key.pem holds no PEM key"),
        ("password", "key.pem has a password: remove it"),
    ],
)
def test_the_file_that_is_no_certificate_or_key_is_named(files: PemFiles, wrong: str, says: str) -> None:
    match wrong:
        case "certificate":
            files.certificate.write_bytes(files.key.read_bytes())
        case "key":
            files.key.write_bytes(files.certificate.read_bytes())
        case "password":
            key = serialization.load_pem_private_key(files.key.read_bytes(), None)
            encryption = serialization.BestAvailableEncryption(b"secret")
            pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
            files.key.write_bytes(pem)
    with pytest.raises(StartError, match=says):
        server_context("test", TlsFiles(files.certificate, files.key, None))


def test_a_key_of_a_kind_that_the_native_transport_lacks_ends_the_start(tiny_models: Path, tmp_path: Path) -> None:
    pytest.importorskip("service.grpc._native_server", reason="the native transport is not built")
    key, name = ec.generate_private_key(ec.SECP521R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    now = datetime.now(UTC)
    certificate = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    pem, files = serialization.Encoding.PEM, PemFiles(tmp_path)
    files.certificate.write_bytes(certificate.public_bytes(pem))
    files.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    server_context("test", TlsFiles(files.certificate, files.key, None))  # OpenSSL knows it
    server = ServerProcess(tiny_models, *files.flags, "--transport", "native")
    try:
        assert server.wait() == 1
    finally:
        server.process.kill()
    assert "ECDSA P-256 or P-384, or Ed25519, or --transport grpcio" in server.event("cannot start")["reason"]


@pytest.mark.parametrize("transport", ["auto", "grpcio"])
def test_a_certificate_that_is_not_valid_for_long_is_warned_of(
    tiny_models: Path, files: PemFiles, authority: trustme.CA, transport: str
) -> None:
    now = datetime.now(UTC)

    def leaf(begin: float, end: float) -> trustme.LeafCert:
        not_before, not_after = now + timedelta(days=begin), now + timedelta(days=end)
        return authority.issue_cert("127.0.0.1", not_before=not_before, not_after=not_after)

    def shake_hands(server: ServerProcess) -> None:
        """Makes a handshake, whatever the certificate. The server reloads its files before."""
        context = ssl._create_unverified_context()
        port = int(server.event("started")["port"])
        with socket.create_connection(("127.0.0.1", port), timeout=60) as plain, context.wrap_socket(plain):
            pass

    expired, early, late = leaf(-9, -1), leaf(1, 9), leaf(-95, 5)
    files.write(expired)
    with serving(tiny_models, *ONE, *files.flags, "--transport", transport) as server:
        warning = server.event("certificate", level="warning")
        assert f"cert.pem has expired on {now - timedelta(days=1):%Y-%m-%d %H:%M:%S} UTC: clients" in warning["reason"]
        says = {early: "is not valid before ", late: ", in 4 days: renew it"}
        for pair, expected in says.items():
            files.write_key(pair)
            shake_hands(server)  # of the old pair
            files.write_certificate(pair)
            shake_hands(server)
            warning = server.event("certificate", after=server.event("reloaded", after=warning))
            assert expected in warning["reason"]
        ends = re.search(
            r"^text_classifier_tls_certificate_expiry_timestamp_seconds (.+)$",
            get(server, ssl._create_unverified_context()),
            re.MULTILINE,
        )
        assert ends
        assert float(ends[1]) == int((now + timedelta(days=5)).timestamp())
        files.write(authority.issue_cert("127.0.0.1"))
        shake_hands(server)
        reloaded = server.event("reloaded", after=warning, what="certificates of gRPC")
    assert "certificate" not in [line["event"] for line in server.log[server.log.index(reloaded) :]]


@pytest.mark.parametrize(
    ("host", "tls", "warned"), [("127.0.0.1", False, 0), ("0.0.0.0", True, 0), ("0.0.0.0", False, 1)]
)
def test_an_address_that_others_reach_without_tls_is_warned_of(
    tiny_models: Path, files: PemFiles, host: str, tls: bool, warned: int
) -> None:
    files.key.chmod(0o600)
    with serving(tiny_models, *ONE, "--host", host, *(files.flags if tls else ())) as server:
        warnings = [line for line in server.log if line["event"] == "exposed" and "--tls-cert" in line["reason"]]
    assert len(warnings) == warned
    assert all(line["level"] == "warning" for line in warnings)


@pytest.mark.parametrize(("host", "transport", "warned"), [("127.0.0.1", "grpcio", 0), ("0.0.0.0", "grpcio", 1)])
def test_grpcio_that_others_reach_is_warned_of(tiny_models: Path, host: str, transport: str, warned: int) -> None:
    with serving(tiny_models, *ONE, "--host", host, "--transport", transport) as server:
        warnings = [line for line in server.log if "lower --max-request-bytes" in line.get("reason", "")]
    assert [line["event"] for line in warnings] == ["exposed"] * warned


def test_a_key_that_everyone_can_read_is_warned_of(tiny_models: Path, files: PemFiles) -> None:
    files.key.chmod(0o604)
    with serving(tiny_models, *ONE, *files.flags) as server:
        assert str(files.key) in server.event("exposed")["reason"]
