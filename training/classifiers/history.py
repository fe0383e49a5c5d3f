"""The history of a fit. It needs no Keras, so that training without a network does not import it."""

from collections.abc import Mapping, Sequence

import numpy as np

History = Mapping[str, Sequence[float]]
"""Keras's history of a fit: "loss", "accuracy", "val_loss" and "val_accuracy", each with a number for each epoch."""


def best_epoch(history: History) -> int:
    """Returns the first epoch, from 1, with the lowest validation loss."""
    return int(np.argmin(history["val_loss"])) + 1
