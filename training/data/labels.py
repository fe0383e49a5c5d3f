"""Turns the values of a file into labels, and finds labels that probably mean the same."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from functools import lru_cache

from textfiles import listed

_TRUTH_VALUES = {"True": "true", "TRUE": "true", "False": "false", "FALSE": "false"}
_WHOLE_NUMBER = re.compile(r"(?P<sign>-?)(?P<digits>[0-9]+)\.0+")
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?")
_SEPARATORS = re.compile(r"\s*[,;|]\s*")


def label_of(value: object) -> str:
    """Returns the label that a value of a file means: not empty, on one line, without white space around it.

    Files with and without types give the same labels: a whole number loses the zeros after its decimal point, so that
    0.0 becomes 0, and a truth value becomes lower case. Other spellings of a number, such as 01 or 1E3, may be codes
    and stay as they are.

    Raises:
        ValueError: the value is no label. The message is the reason.
    """
    if isinstance(value, list | tuple):
        raise ValueError("the label is a list: give each text one label; texts with several labels are not supported")
    if value != value:  # noqa: PLR0124, NaN: pandas writes a missing value so
        value = None
    if isinstance(value, Decimal):
        value = f"{value.normalize():f}"
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is not None and not isinstance(value, str | int | float):
        raise ValueError(f"the label is a value of type {type(value).__name__}, not a string or a number")
    label = "" if value is None else _canonical(str(value))
    if not label or "\n" in label or "\r" in label:
        raise ValueError(f"the label is {'on several lines' if label else 'empty'}")
    return label


@lru_cache(1 << 12)
def _canonical(text: str) -> str:
    text = unicodedata.normalize("NFC", text.strip())
    if whole := _WHOLE_NUMBER.fullmatch(text):
        text = whole["digits"] if not whole["digits"].strip("0") else whole["sign"] + whole["digits"]
    return _TRUTH_VALUES.get(text, text)


SPELLING = "case, width, white space or the form of a number"
"""Two labels that differ only in these probably mean the same, such as " Spam" and "spam", or 01 and 1. They stay two
classes, since 01 may be a code."""


def without_spelling(label: str) -> str | Decimal:
    """Returns a key that is equal for labels that differ only in `SPELLING`."""
    folded = unicodedata.normalize("NFKC", label).casefold()
    visible = "".join(character for character in folded if character.isprintable() and character != " ")
    digits = visible.replace(",", "") if _THOUSANDS.fullmatch(visible) else visible
    try:
        number = Decimal(digits)
    except InvalidOperation:
        return visible
    return number if number.is_finite() else visible


def alike_among(labels: Iterable[str]) -> list[str]:
    """Returns the labels that differ from another label only in `SPELLING`."""
    spellings: dict[str | Decimal, list[str]] = defaultdict(list)
    for label in labels:
        spellings[without_spelling(label)].append(label)
    return [label for alike in spellings.values() if len(alike) > 1 for label in alike]


def spelling_note(labels: Iterable[str], known: Iterable[str]) -> str:
    """Returns a space and a sentence about the unknown labels that differ from a known label only in `SPELLING`, or an
    empty string.
    """
    spellings = set(map(without_spelling, known))
    found = [label for label in labels if without_spelling(label) in spellings]
    if not found:
        return ""
    differ = "differs" if len(found) == 1 else "differ"
    return f" {listed(found)} {differ} from a known label only in {SPELLING}: spell them alike."


def lists_among(labels: Iterable[str]) -> list[str]:
    """Returns the labels that look like lists of labels: those in brackets, and those whose parts between separators
    all occur in other labels too.
    """
    parts = {label: _SEPARATORS.split(label) for label in labels}
    occurrences = Counter(part for each in parts.values() for part in set(each))
    return [
        label
        for label, each in parts.items()
        if (label[0] + label[-1] == "[]") or (len(each) > 1 and all(occurrences[part] > 1 for part in each))
    ]
