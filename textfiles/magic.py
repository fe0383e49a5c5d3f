"""Recognizes files that are not text by their first bytes, and says what to do with them."""

from pathlib import PurePath

from textfiles.formats import Compression

START_BYTES = 256
"""Number of bytes at the start of a file that `not_text` reads."""

# The documented signature of each format. If a text may begin with it too, it includes the bytes that must follow.
_COMPRESSIONS = (
    (b"\x1f\x8b\x08", Compression.GZIP, "a gzip file"),
    (b"\x28\xb5\x2f\xfd", Compression.ZSTD, "a zstd file"),
    (b"\xfd7zXZ\0", Compression.XZ, "an xz file"),
    *((b"BZh%d1AY&SY" % level, Compression.BZIP2, "a bzip2 file") for level in range(1, 10)),
)
_WORKBOOK = "save the sheet as CSV"
_OTHERS = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", f"an Excel workbook of the old format (.xls): {_WORKBOOK}"),
    (b"SQLite format 3\0", "an SQLite database: export the table as CSV"),
    (b"ARROW1\0\0", "an Arrow or Feather file: write the table as Parquet"),
    (b"%PDF-", "a PDF: save its text"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
)
_PARQUET = b"PAR1\x15"
_ZIP = b"PK\x03\x04"
_IN_OFFICE_FILES = (b"[Content_Types].xml", b"docProps/", b"_rels/", b"xl/", b"mimetypeapplication/vnd.oasis")


def not_text(start: bytes, name: str | None) -> str | None:
    """Returns the kind of a file that is not text, and what to do; None if it may be text.

    Args:
        start: the first `START_BYTES` bytes of the file, or all if there are fewer.
        name: the file's name, if another name would help.
    """
    for signature, compression, kind in _COMPRESSIONS:
        if start.startswith(signature):
            return _found(kind, f"rename it to {name}{compression}" if name else "decompress it")
    for signature, kind_and_remedy in _OTHERS:
        if start.startswith(signature):
            return _found(*kind_and_remedy.split(": "))
    if start.startswith(_PARQUET):
        remedy = f"rename it to {PurePath(name).stem}.parquet" if name else "read it uncompressed as Parquet"
        return _found("a Parquet file", remedy)
    if not start.startswith(_ZIP):
        return None
    if any(part in start for part in _IN_OFFICE_FILES):
        return _found("an Excel workbook or another office file", _WORKBOOK)
    return _found("a zip file", f"rename it to {name}{Compression.ZIP}" if name else "unpack it")


def _found(kind: str, remedy: str) -> str:
    return f"is {kind} (by its first bytes), not text: {remedy}"
