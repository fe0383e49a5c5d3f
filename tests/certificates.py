"""Certificates of this run, written to files as an operator has them."""

from dataclasses import dataclass
from pathlib import Path

import grpc
import trustme


@dataclass(frozen=True)
class PemFiles:
    """A certificate and its key in a folder."""

    folder: Path

    @property
    def certificate(self) -> Path:
        return self.folder / "cert.pem"

    @property
    def key(self) -> Path:
        return self.folder / "key.pem"

    def write(self, leaf: trustme.LeafCert) -> None:
        self.write_certificate(leaf)
        self.write_key(leaf)

    def write_certificate(self, leaf: trustme.LeafCert) -> None:
        _replace(self.certificate, chain(leaf))

    def write_key(self, leaf: trustme.LeafCert) -> None:
        _replace(self.key, leaf.private_key_pem.bytes())

    @property
    def flags(self) -> tuple[str, ...]:
        """The server's."""
        return "--tls-cert", str(self.certificate), "--tls-key", str(self.key)


def chain(leaf: trustme.LeafCert) -> bytes:
    return b"".join(part.bytes() for part in leaf.cert_chain_pems)


def channel_credentials(authority: trustme.CA, leaf: trustme.LeafCert | None = None) -> grpc.ChannelCredentials:
    """What a client needs that trusts the authority, and shows the certificate if there is one."""
    key, certificate = (leaf.private_key_pem.bytes(), chain(leaf)) if leaf else (None, None)
    return grpc.ssl_channel_credentials(authority.cert_pem.bytes(), key, certificate)


def _replace(path: Path, content: bytes) -> None:
    """As tools that renew certificates do: a reader sees the old file or the new one."""
    temporary = path.with_suffix(".new")
    temporary.write_bytes(content)
    temporary.replace(path)
