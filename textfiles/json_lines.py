"""Explains why a line of JSON Lines is not a JSON object, and recognizes JSON files that are not JSON Lines."""

import re
from collections.abc import Sequence

import msgspec

_BYTE = re.compile(r"\(byte (\d+)\)")
_NO_NUMBER = re.compile(rb"(NaN|Infinity)\b")
_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair of surrogates
    r"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"  # one alone
    r"|\\."
)
_OF_SURROGATES = ("surrogate", "escape", "truncated")
"""Words that occur in msgspec's messages about a lone surrogate."""


def malformed(error: msgspec.DecodeError, line: str) -> str:
    """Returns the reason why a line is not a JSON object. It explains byte order marks inside a file, and NaN and
    lone surrogates, which JSON does not have; Python and pandas write both.
    """
    if line.startswith("\ufeff"):  # the file was joined of several
        return "starts with a byte order mark, which only the first line may: remove it"
    at = _BYTE.search(str(error))
    number = _NO_NUMBER.match(line.encode(errors="replace"), int(at[1])) if at else None
    if number:
        return f"{number[0].decode()} is not JSON: write null or a number (byte {number.start()})"
    if any(word in str(error) for word in _OF_SURROGATES):
        alone = next(filter(None, (found[1] for found in _ESCAPE.finditer(line))), None)
        if alone:
            return f"{alone} is a lone surrogate, half of a character: write both halves, or remove it"
    return str(error)


def another_kind(lines: Sequence[str]) -> str:
    """Returns what is wrong with a JSON file that is not JSON Lines, and what to do; an empty string if it may be JSON
    Lines.

    Args:
        lines: the first two lines of the file that are not empty, or all if there are fewer.
    """
    first, others = (lines[0].strip(), lines[1:]) if lines else ("", ())
    if first.startswith("[") and not (others and _is_json(first)):
        return _convert("one JSON array", "jq -c '.[]'")
    goes_on = first.startswith("{") and first.endswith(("{", "[", ",")) and not first.endswith("},")
    if goes_on and others and not _is_json(others[0]):
        return _convert("JSON whose objects span several lines", "jq -c .")
    return ""


def _is_json(line: str) -> bool:
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _convert(kind: str, command: str) -> str:
    return f"is {kind}, not one JSON object per line (JSON Lines): convert it with {command}"
