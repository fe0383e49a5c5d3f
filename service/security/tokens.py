"""Bearer tokens, read from a file that may change while the server runs."""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from pathlib import Path

from service.errors import StartError, Unauthenticated
from service.security.reloaded_file import Reloaded, read_bytes
from text_classifier.calls import TOKEN

_SCHEME = "bearer "


class Tokens:
    """The tokens of a file: one per line, without spaces. Empty lines and lines that begin with # are ignored.

    Only their SHA-256 digests are kept, and compared in constant time.

    Raises:
        StartError: the file cannot be read, has no token, or has a line that is not a token.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digests = Reloaded("tokens", [path], lambda: _read(path))

    def publish(self, to: Callable[[Path, tuple[int, ...], Sequence[bytes]], None]) -> None:
        """Passes the file's path, its stamp and the tokens' digests to another checker, now and at each change."""

        def give() -> None:
            to(self._path, self._digests.stamps[0], self._digests.value)

        self._digests.on_reload = give
        give()

    def check(self, authorization: str) -> None:
        """Checks an Authorization header, `Bearer <token>`.

        Raises:
            Unauthenticated: its token is not in the file.
        """
        scheme, token = authorization[: len(_SCHEME)], authorization[len(_SCHEME) :]
        digest = _digest(token)
        found = False
        for known in self._digests.get():  # compares all, so that the time does not tell which one matched
            found |= hmac.compare_digest(known, digest)
        if not found or scheme.lower() != _SCHEME:
            raise Unauthenticated


def _read(path: Path) -> tuple[bytes, ...]:
    try:
        lines = read_bytes(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise StartError(f"{path} is not UTF-8") from error
    digests = []
    for number, line in enumerate(map(str.strip, lines), 1):
        if line and not line.startswith("#"):
            if not TOKEN.fullmatch(line):
                raise StartError(f"{path}, line {number}: a token consists of visible ASCII characters, without spaces")
            digests.append(_digest(line))
    if not digests:
        raise StartError(f"{path} holds no token: write one in each line")
    return tuple(digests)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
