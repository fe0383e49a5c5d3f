"""The error of files that people bring."""


class InputError(Exception):
    """What the user gave cannot be used. The text is one line that says what to do."""
