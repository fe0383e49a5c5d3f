"""The file formats and compressions, and the endings of file names that stand for them."""

from enum import StrEnum
from pathlib import PurePath

TABLES = (
    "CSV (.csv), TSV (.tsv) and JSON Lines (.jsonl, .ndjson), each also compressed (.gz, .bz2, .xz, .zst, .zip), and"
    " Parquet (.parquet)"
)
"""The formats with columns, for help and errors."""
FORMATS = f"{TABLES}, and plain text, one text per line (.txt, also compressed)"
"""All formats, for help and errors."""


class Format(StrEnum):
    """The format of a file. The value is the ending of its name."""

    CSV = ".csv"
    TSV = ".tsv"
    JSON_LINES = ".jsonl"
    PARQUET = ".parquet"
    TEXT = ".txt"

    @property
    def delimiter(self) -> str:
        """The default field separator of CSV and TSV."""
        return "\t" if self is Format.TSV else ","


class Compression(StrEnum):
    """The compression of a whole file. The value is the ending of its name."""

    NONE = ""
    GZIP = ".gz"
    BZIP2 = ".bz2"
    XZ = ".xz"
    ZSTD = ".zst"
    ZIP = ".zip"


_FORMATS = {**{each.value: each for each in Format}, ".ndjson": Format.JSON_LINES}


def format_of(name: str) -> Format | None:
    """Returns the format that the ending of a name stands for, ignoring case; None if there is no such format."""
    return _FORMATS.get(PurePath(name).suffix.lower())


def split_compression(name: str) -> tuple[str, Compression]:
    """Returns a file's name without the ending of its compression, and the compression."""
    for compression in Compression:
        if compression and name.lower().endswith(compression):
            return name[: -len(compression)], compression
    return name, Compression.NONE
