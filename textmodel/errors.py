"""The errors of this room."""

from typing import ClassVar


class ModelError(Exception):
    """A version folder cannot be read or is malformed. The text says what and where."""

    kind: ClassVar[str] = "malformed"
    """The kind of error in a word, for metrics."""


class ChangedError(ModelError):
    """The files changed while they were read."""

    kind = "changed"


class SignatureError(ModelError):
    """The SavedModel has not the signature that an engine calls."""

    kind = "signature"


class ProbeError(ModelError):
    """An engine answers a golden probe differently from training."""

    kind = "probe"


class UnsupportedError(ModelError):
    """The version may be in order, but is not for this engine."""

    kind = "unsupported"
