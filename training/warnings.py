"""Warnings of a training run."""

from collections.abc import Iterable

from rich.console import Console


def show(console: Console, warnings: Iterable[str]) -> None:
    """Shows warnings, one a line, without interpreting markup, since labels and names may look like it."""
    for warning in warnings:
        console.print(f"Warning: {warning}", markup=False, highlight=False, soft_wrap=True)
