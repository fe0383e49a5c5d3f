import numpy as np
from numpy.typing import NDArray

class Network:
    """A bag-of-words network: rows of the first layer added up, then small dense layers.

    Args:
        characters: (0x20000,), what each character is read as: lower case, a space for a separator. Those above are
            read as themselves.
        entries: the vocabulary. An entry's position is its index.
        layers: kernel (inputs, units), bias (units,) and activation of each.
        start: the index that every text holds.
        unknown: the index of a word that is no entry.

    Raises:
        ValueError: the sizes do not fit one another.
    """

    def __new__(
        cls,
        characters: NDArray[np.uint32],
        entries: tuple[str, ...],
        layers: tuple[tuple[NDArray[np.float32], NDArray[np.float32], str], ...],
        start: int,
        unknown: int,
    ) -> Network: ...
    def classify(
        self,
        texts: tuple[str, ...],
        probabilities: NDArray[np.float32],
        words: NDArray[np.int32],
        known_words: NDArray[np.int32],
    ) -> None:
        """Fills (texts, classes), (texts,) and (texts,), with the GIL released.

        One unit at the end gives two columns: its complement and itself.

        Raises:
            ValueError: an array has another size, or a text holds a surrogate.
        """

    def indices(self, text: str) -> list[int]:
        """Returns the distinct indices that the text holds, rising."""
