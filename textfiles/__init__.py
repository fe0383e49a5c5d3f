"""Reads files of texts as streams, in many formats and encodings, for training and bulk."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from textfiles.errors import InputError, counted, listed
from textfiles.formats import FORMATS, TABLES, Compression, Format
from textfiles.rows import Row, Unreadable
from textfiles.separated import MAX_LINE_BYTES

if TYPE_CHECKING:
    from textfiles.text_file import DEFAULT_OPTIONS, STANDARD_INPUT, ReadOptions, TextFile
else:
    _READER = ("DEFAULT_OPTIONS", "STANDARD_INPUT", "ReadOptions", "TextFile")

    def __getattr__(name: str) -> Any:
        """Imports the reader on first use, since the rest needs no installed package."""
        if name not in _READER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.text_file"), name)


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
