"""Reads files of texts, in the formats and encodings that people have them in, as streams: for training and bulk."""

from textfiles.errors import InputError, counted, listed
from textfiles.formats import FORMATS, TABLES, Compression, Format
from textfiles.rows import Row, Unreadable
from textfiles.separated import MAX_LINE_BYTES
from textfiles.text_file import DEFAULT_OPTIONS, STANDARD_INPUT, ReadOptions, TextFile

__all__ = [
    "DEFAULT_OPTIONS",
    "FORMATS",
    "MAX_LINE_BYTES",
    "STANDARD_INPUT",
    "TABLES",
    "Compression",
    "Format",
    "InputError",
    "ReadOptions",
    "Row",
    "TextFile",
    "Unreadable",
    "counted",
    "listed",
]
