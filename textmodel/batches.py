"""Batches of texts whose size in memory is bounded, whatever the length of the texts."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

_T = TypeVar("_T")


def bounded_batches(
    items: Iterable[_T], length: Callable[[_T], int], *, max_items: int, max_characters: int
) -> Iterator[list[_T]]:
    """Yields the items in batches, in order. A batch ends with the item that reaches one of the limits.

    Args:
        items: texts, or rows with a text.
        length: returns how many characters an item's text has.
        max_items: maximum number of items of a batch.
        max_characters: number of characters from which on a batch is complete.
    """
    batch: list[_T] = []
    characters = 0
    for item in items:
        batch.append(item)
        characters += length(item)
        if len(batch) == max_items or characters >= max_characters:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
