"""The errors of this room."""

from textfiles import InputError

__all__ = ["InputError"]
