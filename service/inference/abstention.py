"""Abstention: marks answers whose probability is below the threshold of the request, for all protocols."""

from collections.abc import Sequence

from service.errors import CannotAbstain, InvalidArgument
from service.inference.repository import ModelRepository

MIN_PROBABILITY = "min_probability"
"""A field of a request."""
USE_THRESHOLDS = "use_thresholds"
"""A field of a request."""


def abstention_thresholds(
    repository: ModelRepository,
    model: str,
    version: int,
    min_probability: float,
    use_thresholds: bool,
    *,
    model_field: str = "model",
) -> Sequence[float] | None:
    """Returns the threshold of each label: answers with a lower probability are marked. None: no answer is marked.

    Args:
        repository: the repository of the model.
        model: the model's name.
        version: the model's version; 0: the version in service.
        min_probability: threshold of all labels; 0: none.
        use_thresholds: whether the version's own thresholds apply too.
        model_field: name of the field that holds the model's name, for errors.

    Raises:
        InvalidArgument: the probability is not between 0 and 1.
        CannotAbstain: the version has no thresholds.
        RequestError: there is no such version.
    """
    if not 0 <= min_probability <= 1:
        raise InvalidArgument(MIN_PROBABILITY, f"{min_probability:g} is no probability: send a number from 0 to 1")
    if not use_thresholds and not min_probability:
        return None
    servable = repository.get(model, version, model_field)
    if not use_thresholds:
        return [min_probability] * len(servable.labels)
    abstention = servable.metadata.abstention
    if not abstention:
        raise CannotAbstain(
            f"models/{servable.name}/versions/{servable.version}",
            f"it was trained without --target-precision; send {MIN_PROBABILITY} instead",
        )
    return [max(min_probability, threshold) for threshold in abstention.thresholds]
