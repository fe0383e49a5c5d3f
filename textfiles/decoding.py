"""Character encodings: detects the encoding of a file, and converts a stream in any encoding to UTF-8."""

import codecs
import io
from typing import IO

UTF8 = "utf-8"
ENCODING_HINT = "name the encoding with --encoding"
"""The reason why a row in another encoding cannot be read ends with this."""

_INVALID = "textfiles-invalid"
# A lone surrogate encodes to invalid UTF-8. So the row that contains it cannot be decoded, but other rows can.
codecs.register_error(_INVALID, lambda error: ("\ud800", getattr(error, "end", 0)))

# Longest first: the mark of UTF-32 starts with that of UTF-16.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, UTF8),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def detected_encoding(start: bytes) -> tuple[str | None, int]:
    """Returns the encoding that the first four bytes of a file show, or None, and the length of their byte order mark.
    Without a mark, UTF-16 is recognized by the zero bytes of its ASCII characters.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return encoding, len(mark)
    zeros = [byte == 0 for byte in start[:4]]
    if zeros == [False, True, False, True]:
        return "utf-16-le", 0
    return ("utf-16-be", 0) if zeros == [True, False, True, False] else (None, 0)


class Utf8Stream(io.RawIOBase):
    """Converts a stream of bytes from another encoding to UTF-8. Bytes that are invalid in that encoding become invalid
    UTF-8.

    Args:
        source: the stream to convert.
        encoding: its encoding, a name that `codecs.lookup` knows.
    """

    def __init__(self, source: IO[bytes], encoding: str) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder(encoding)(_INVALID)
        self._ready = b""
        self._at_end = False

    def readable(self) -> bool:
        """Returns True."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Reads UTF-8 into the buffer and returns the number of bytes; 0 at the end."""
        while not self._ready and not self._at_end:
            block = self._source.read(1 << 16)
            self._at_end = not block
            self._ready = self._decoder.decode(block, self._at_end).encode(errors="surrogatepass")
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count


def canonical_encoding(name: str) -> str | None:
    """Returns Python's name of a character encoding; None if there is no such encoding, or if it is not for files."""
    try:
        "".encode(name)
        codecs.getincrementaldecoder(name)(_INVALID).decode(b"")  # those of host names take no other error handler
        found = codecs.lookup(name).name
    except (LookupError, ValueError):
        return None
    return {"utf-16": "utf-16-le", "utf-32": "utf-32-le"}.get(found, found)  # as web browsers do without a mark


def invalid_text(error: UnicodeDecodeError) -> str:
    """Returns the reason why bytes are not valid UTF-8."""
    return f"not UTF-8 ({error.reason} {error.object[error.start]:#04x})"


def wrong_encoding(error: UnicodeDecodeError, encoding: str) -> str:
    """Returns the reason why a line is not valid in the encoding that the file is read in."""
    reason = invalid_text(error) if encoding == UTF8 else f"not {encoding}"
    if encoding == UTF8 and b"\0" in error.object:
        reason += "; its zero bytes are a sign of utf-16-le or utf-16-be"
    return f"{reason}: {ENCODING_HINT}"
