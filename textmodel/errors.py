"""The errors of this room."""


class ModelError(Exception):
    """A version folder cannot be read, is malformed, or answers its golden probes wrongly.

    The text says what and where.
    """
