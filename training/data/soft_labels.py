"""Soft labels and weights, which a row of a file may have besides its label.

A soft label is the probability of each label, from a larger model or from several people. A weight says how many rows a
row counts as.
"""

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from training.data.labels import label_of

PREFIX = "p_"
"""The name of a column of probabilities may be this prefix and the label."""
WEIGHT_OPTION = "--weight-column"
SUM_TOLERANCE = 0.02
"""Maximum difference of the sum of a row's probabilities from 1: three times 0.33 is valid."""
NEGLIGIBLE = 0.01
"""A label with a lower probability is left out of a row, and the other probabilities are divided by their sum. A row's
cost in training grows with its number of labels; so it has at most 100 labels, and mostly one or two."""

MAX_WEIGHT = 1e6
"""Maximum weight: with larger weights a fit does not converge."""

_ROUNDING = 1e-6
"""How far a 32-bit probability may lie outside 0 to 1, by rounding."""


@dataclass(frozen=True)
class SoftColumns:
    """The columns, or keys in JSON Lines, of soft labels and weights.

    Args:
        probabilities: the column of each label; empty without soft labels.
        weight: the column of the weights; None without weights.
    """

    probabilities: Mapping[str, str] = field(default_factory=dict)
    weight: str | None = None

    def __bool__(self) -> bool:
        return bool(self.probabilities) or self.weight is not None

    def names(self) -> list[str]:
        """Returns the names of all columns of soft labels and weights."""
        return [*self.probabilities.values(), *([] if self.weight is None else [self.weight])]

    def arguments(self) -> list[str]:
        """Returns the command-line arguments that name these columns."""
        words = [
            column if _label_in(column) == label else f"{label}={column}"
            for label, column in self.probabilities.items()
        ]
        probabilities = ["--probability-columns", _joined(words)] if words else []
        return [*probabilities, *([] if self.weight is None else [WEIGHT_OPTION, self.weight])]


NO_SOFT_COLUMNS = SoftColumns()


def probability_columns(text: str) -> dict[str, str]:
    """Parses names of columns, separated by commas, into the column of each label. Each is `LABEL=COLUMN`, or a name of
    a column alone: the label, with or without `PREFIX`. As in CSV, quotation marks enclose a name with a comma.

    Raises:
        ValueError: the text does not name columns so. The message is the reason.
    """
    columns: dict[str, str] = {}
    for word in next(csv.reader([text]), []):
        given, equals, name = word.partition("=")
        label, column = (label_of(given), name.strip()) if equals else (_label_in(word.strip()), word.strip())
        if not column:
            raise ValueError(f"{text!r} has an empty name")
        if label in columns or column in columns.values():
            raise ValueError(f"{text!r} names {label if label in columns else column!r} twice")
        columns[label] = column
    if len(columns) < 2:
        raise ValueError(f"{text!r} is not two columns or more, separated by commas")
    return columns


def _label_in(column: str) -> str:
    """Returns the label that a column's name gives."""
    return label_of(column.removeprefix(PREFIX))


def _joined(words: list[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(words)
    return line.getvalue()


def is_empty(value: object) -> bool:
    """Tells whether a value of a file is missing: an empty cell, or null."""
    return value is None or (isinstance(value, str) and not value.strip())


def soft_label(columns: Mapping[str, str], fields: Mapping[str, Any]) -> dict[str, float] | None:
    """Returns the probability of each label of a row, without negligible ones, with the sum 1. None: all columns are
    empty.

    Args:
        columns: the column of each label.
        fields: the row's values by column.

    Raises:
        ValueError: the values are not probabilities. The message is the reason.
    """
    empty = [column for column in columns.values() if is_empty(fields.get(column))]
    if len(empty) == len(columns):
        return None
    if empty:
        raise ValueError(f"{empty[0]!r} is empty, but other probabilities are not")
    values = {label: _number(column, fields[column]) for label, column in columns.items()}
    for label, value in values.items():
        if not -_ROUNDING <= value <= 1 + _ROUNDING:
            raise ValueError(f"{columns[label]!r} is {value:g}: a probability is from 0 to 1")
    total = sum(values.values())
    if abs(total - 1) > SUM_TOLERANCE:
        raise ValueError(f"the probabilities sum to {total:.4g}, not to 1")
    # The largest is kept, even if it is negligible because there are many labels.
    least = min(NEGLIGIBLE, max(values.values()))
    kept = {label: value for label, value in values.items() if value >= least}
    total = sum(kept.values())
    return {label: value / total for label, value in kept.items()}


def weight(column: str, value: object) -> float:
    """Returns the weight that a value of a file means, from 0 to `MAX_WEIGHT`.

    Raises:
        ValueError: the value is no weight. The message is the reason.
    """
    if is_empty(value):
        raise ValueError(f"{column!r} is empty: a weight is a number from 0, and 1 is the usual one")
    number = _number(column, value)
    if number < 0:
        raise ValueError(f"{column!r} is {number:g}: a weight is not negative")
    if number > MAX_WEIGHT:
        raise ValueError(f"{column!r} is {number:g}: a weight is {MAX_WEIGHT:,.0f} at most: divide all by a number")
    return number


def _number(column: str, value: object) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal) or "_" in str(value):
            raise ValueError
        number = float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{column!r} is {value!r}, no number") from None
    if not math.isfinite(number):
        raise ValueError(f"{column!r} is {number}, no finite number")
    return number
