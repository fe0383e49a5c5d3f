"""TLS from files: the server's certificate, and with mutual TLS the authority of its clients.

gRPC and HTTP check the files at each handshake, so that replaced files take effect without a restart.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import grpc
import structlog

from service.config import Config, flag
from service.errors import StartError
from service.security.certificate_validity import validity_warning
from service.security.reloaded_file import Reloaded, read_bytes

_log = structlog.get_logger()

T = TypeVar("T")


@dataclass(frozen=True)
class TlsFiles:
    """The PEM files of the server. With `client_ca`, clients need a certificate."""

    certificate: Path
    key: Path
    client_ca: Path | None

    @property
    def all(self) -> list[Path]:
        """All files that are configured."""
        return [path for path in (self.certificate, self.key, self.client_ca) if path]


class PemFiles(NamedTuple):
    """The contents of the files."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None


def tls_files(config: Config) -> TlsFiles | None:
    """Returns the files that the configuration names; None if the server uses no TLS.

    Raises:
        StartError: the certificate or its key is missing.
    """
    if config.tls_cert and config.tls_key:
        return TlsFiles(config.tls_cert, config.tls_key, config.tls_client_ca)
    if config.tls_cert or config.tls_key or config.tls_client_ca:
        missing = [flag(name) for name in ("tls_cert", "tls_key") if not getattr(config, name)]
        raise StartError(f"TLS needs both --tls-cert and --tls-key: give {' and '.join(missing)} too")
    return None


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Makes gRPC's credentials, which are reloaded when the files change.

    Raises:
        StartError: a file cannot be read, or the files do not belong together.
    """
    configuration = _of_grpc(files, lambda: _certificate_configuration(files))
    used = configuration.get()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Returns the configuration for a handshake, or None to keep the previous one."""
        nonlocal used
        before, used = used, configuration.get()
        return None if used is before else used

    return grpc.dynamic_ssl_server_credentials(used, fetch, files.client_ca is not None)  # type: ignore[arg-type]


def pem_files(files: TlsFiles) -> Reloaded[PemFiles]:
    """Returns the contents of the files, reloaded when they change.

    Raises:
        StartError: a file cannot be read, or the files do not belong together.
    """
    return _of_grpc(files, lambda: _read(files))


def _of_grpc(files: TlsFiles, read: Callable[[], T]) -> Reloaded[T]:
    """Returns what is read of the files. A reload of certificates that are not valid for long gives a warning."""

    def warn() -> None:
        if warning := validity_warning(files.certificate):
            _log.warning("certificate", reason=warning)

    reloaded = Reloaded("certificates of gRPC", files.all, read)
    reloaded.on_reload = warn
    return reloaded


def server_context(name: str, files: TlsFiles) -> ssl.SSLContext:
    """Makes an `ssl` context that is reloaded when the files change.

    Args:
        name: the name of the certificates in the log.
        files: the files.

    Raises:
        StartError: a file cannot be read, or the files do not belong together.
    """
    current = Reloaded(name, files.all, lambda: _context(files))

    def choose(connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        connection.context = current.get()

    context = _context(files)
    context.sni_callback = choose  # called at each handshake, whether the client names the server or not
    return context


def _context(files: TlsFiles) -> ssl.SSLContext:
    """Makes a context from the files. This checks all of them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for path in files.all:
        read_bytes(path)  # ssl does not say which file it cannot read
    try:
        # Without a password, OpenSSL asks for one on the terminal if the key needs it.
        context.load_cert_chain(files.certificate, files.key, password="")  # nosec B106
    except (OSError, ValueError) as error:
        if "MISMATCH" in str(error):  # KEY_VALUES_MISMATCH or KEY_TYPE_MISMATCH
            raise StartError(f"the key {files.key} does not belong to the certificate {files.certificate}") from error
        raise StartError(f"{_unusable(files)}: {error}") from error
    if files.client_ca:
        try:
            context.load_verify_locations(files.client_ca)
        except OSError as error:
            raise StartError(f"{files.client_ca} holds no PEM certificate: {error}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _unusable(files: TlsFiles) -> str:
    """Returns what is wrong with a certificate or key that OpenSSL cannot read, since it does not say."""
    if b"CERTIFICATE-----" not in read_bytes(files.certificate):
        return f"{files.certificate} holds no PEM certificate"
    key = read_bytes(files.key)
    if b"PRIVATE KEY-----" not in key:
        return f"{files.key} holds no PEM key"
    if b"ENCRYPTED" in key:
        return f"{files.key} has a password: remove it, as openssl pkey -in {files.key} -out NEW does"
    return f"{files.certificate} and {files.key} are not a PEM certificate and its key"


def _certificate_configuration(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    pem = _read(files)
    return grpc.ssl_server_certificate_configuration([(pem.key, pem.certificate)], pem.client_ca)


def _read(files: TlsFiles) -> PemFiles:
    certificate, key, *authority = read = [read_bytes(path) for path in files.all]
    _context(files)  # gRPC does not say what is wrong
    if read != [read_bytes(path) for path in files.all]:
        raise StartError(f"{files.certificate} and its like are being replaced")
    return PemFiles(certificate, key, authority[0] if authority else None)
