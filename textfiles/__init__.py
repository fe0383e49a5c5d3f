"""Reads files of texts, the user's own, as streams, and knows where in a file it is: once, for training and bulk."""

from textfiles.errors import InputError
from textfiles.text_file import FORMATS, LONGEST, TABLES, Format, Row, TextFile, Unreadable

__all__ = ["FORMATS", "LONGEST", "TABLES", "Format", "InputError", "Row", "TextFile", "Unreadable"]
