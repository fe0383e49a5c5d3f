"""The errors of this package."""

from typing import ClassVar


class ModelError(Exception):
    """A version folder cannot be read or is malformed. The message says what is wrong and where."""

    kind: ClassVar[str] = "malformed"
    """The kind of error, a label of metrics."""


class ChangedError(ModelError):
    """The files changed while they were being read."""

    kind = "changed"


class MissingError(ModelError):
    """There is no such version."""

    kind = "missing"


class SignatureError(ModelError):
    """The SavedModel does not have the signature that engines call."""

    kind = "signature"


class ProbeError(ModelError):
    """An engine answers a golden probe differently from training."""

    kind = "probe"


class UnsupportedError(ModelError):
    """This engine cannot run the version, which may be valid."""

    kind = "unsupported"
