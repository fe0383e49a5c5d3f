"""Warnings of a training run."""

from collections.abc import Iterable

from rich.console import Console


def show(console: Console, warnings: Iterable[str]) -> None:
    """Shows warnings, a line each, as they are: labels and names may look like markup."""
    for warning in warnings:
        console.print(f"Warning: {warning}", markup=False, highlight=False, soft_wrap=True)
