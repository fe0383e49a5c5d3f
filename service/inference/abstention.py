"""Abstention: an answer whose probability is below what the request asks for is marked, whatever its protocol."""

from collections.abc import Sequence

from service.errors import CannotAbstain, InvalidArgument
from service.inference.repository import ModelRepository

MIN_PROBABILITY = "min_probability"
USE_THRESHOLDS = "use_thresholds"
"""The fields of a request."""


def abstention_thresholds(
    repository: ModelRepository, model: str, version: int, min_probability: float, use_thresholds: bool
) -> Sequence[float] | None:
    """Returns the probability below which each label is marked, in the order of the labels; None: none ever is.

    Args:
        repository: where the model is.
        model: its name.
        version: its version; 0: the one in service.
        min_probability: for all labels; 0: none is marked.
        use_thresholds: whether the version's own thresholds hold, too.

    Raises:
        InvalidArgument: the probability is none.
        CannotAbstain: the version has no thresholds.
        RequestError: there is no such version.
    """
    if not 0 <= min_probability <= 1:
        raise InvalidArgument(MIN_PROBABILITY, f"{min_probability:g} is no probability: send a number from 0 to 1")
    if not use_thresholds and not min_probability:
        return None
    servable = repository.get(model, version)
    if not use_thresholds:
        return [min_probability] * len(servable.labels)
    abstention = servable.metadata.abstention
    if not abstention:
        raise CannotAbstain(
            f"models/{servable.name}/versions/{servable.version}",
            f"it was trained without --target-precision; send {MIN_PROBABILITY} instead",
        )
    return [max(min_probability, threshold) for threshold in abstention.thresholds]
