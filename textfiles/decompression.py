"""Reads compressed files as streams. A damaged or truncated file raises one of `ERRORS`."""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from typing import IO, cast

import pyarrow as pa

from textfiles.formats import Compression

ERRORS = (
    EOFError,
    OSError,
    lzma.LZMAError,
    pa.ArrowException,
    zipfile.BadZipFile,
    zlib.error,
)
"""The errors that reading a damaged file may raise."""


def decompressed(file: IO[bytes], compression: Compression) -> io.BufferedReader:
    """Returns a stream of the decompressed content of an open file, which stays open. The content of a zip file is that
    of its only member.
    """
    if compression is Compression.NONE:
        return cast("io.BufferedReader", file)
    return io.BufferedReader(cast("io.RawIOBase", _decompressed(file, compression)), 1 << 16)


class _Borrowed:
    """Lets pyarrow read a file without closing it."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self.read = file.read

    def close(self) -> None:
        """Does nothing."""


def _decompressed(file: IO[bytes], compression: Compression) -> object:
    match compression:
        case Compression.GZIP:
            return gzip.GzipFile(fileobj=file)
        case Compression.BZIP2:
            return bz2.BZ2File(file)
        case Compression.XZ:
            return lzma.LZMAFile(file)
        case Compression.ZSTD:
            return pa.CompressedInputStream(pa.PythonFile(_Borrowed(file), mode="r"), "zstd")
        case Compression.ZIP:
            archive = zipfile.ZipFile(file)
            (name,) = member_names(archive)
            try:
                return archive.open(name)
            except RuntimeError as error:  # encrypted, or compressed by a method that zipfile lacks
                raise zipfile.BadZipFile(str(error)) from error
        case _:
            return file


def member_names(archive: zipfile.ZipFile) -> list[str]:
    """Returns the names of the files in a zip file, without folders, hidden files and the metadata that macOS adds."""
    names = [name for name in archive.namelist() if not name.endswith("/")]
    return [name for name in names if not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))]
