"""How long the server's certificate is valid. A server with an expired one runs, but its clients refuse it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from service.errors import StartError
from service.security.reloaded_file import read_bytes

_SOON = 0.1
"""The rest of a certificate's lifetime, as a share, from which on it should have been renewed."""


class Validity(NamedTuple):
    """When all certificates of a chain are valid."""

    begin: datetime
    end: datetime


def validity(certificate: Path) -> Validity | None:
    """Returns when the certificates in a PEM file are valid; None if they cannot be read."""
    from cryptography import x509  # noqa: PLC0415, only servers with TLS need the time and memory of this import

    try:
        chain = x509.load_pem_x509_certificates(read_bytes(certificate))
    except (StartError, ValueError):
        return None
    return Validity(max(each.not_valid_before_utc for each in chain), min(each.not_valid_after_utc for each in chain))


def validity_warning(certificate: Path) -> str | None:
    """Returns a sentence if the certificates in a PEM file are not valid now, or not for long; otherwise None."""
    valid, now = validity(certificate), datetime.now(UTC)
    if valid is None:
        return None
    if now < valid.begin:
        return f"{certificate} is not valid before {_shown(valid.begin)}: clients refuse it until then"
    if now >= valid.end:
        return f"{certificate} has expired on {_shown(valid.end)}: clients refuse it; renew it"
    if valid.end - now < _SOON * (valid.end - valid.begin):
        return f"{certificate} expires on {_shown(valid.end)}, in {_in_words(valid.end - now)}: renew it"
    return None


def _shown(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def _in_words(period: timedelta) -> str:
    return f"{period.days} days" if period.days > 1 else f"{period.total_seconds() / 3600:.1f} hours"
