"""The names of models, versions and engines, against which options are checked.

It imports no installed package, so that commands can check their options and print their help without the extras.
"""

import re
from typing import Literal

EngineKind = Literal["auto", "tensorflow", "compiled"]
"""The engines that can be requested."""

MAX_VERSION = 2**63 - 1
"""The largest version number: the gRPC contract has int64."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DIGITS = re.compile(r"0*([1-9][0-9]{0,18})")


def is_model_name(name: str) -> bool:
    """Tells whether a name can name a model: letters, digits, '.', '-' and '_', a letter or digit first."""
    return _NAME.fullmatch(name) is not None


def version_number(name: str) -> int | None:
    """Returns the version that a folder's name means, or None if it means none."""
    digits = _DIGITS.fullmatch(name)
    number = int(digits[1]) if digits else 0
    return number if 0 < number <= MAX_VERSION else None
