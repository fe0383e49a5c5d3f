import numpy as np
from numpy.typing import NDArray

class Network:
    """A bag-of-words network: rows of the first layer added up, then small dense layers.

    Args:
        characters: (size,), the entry of each character as `textmodel.characters` defines it. Those above are read as
            themselves. Without hashed n-grams, what separates words is read as a space.
        entries: the vocabulary. An entry's position is its index.
        layers: kernel (inputs, units), bias (units,) and activation of each.
        start: the index that every text holds.
        unknown: the index of a word that is no entry.
        ngrams: None for multi-hot vectors. For those of n-grams: each feature's scale (features,), the longest n-gram,
            the lowest index that is a word, whether a count weighs 1 + ln(count) instead of 1, and whether vectors are
            divided by their L2 norm. Features beside the entries are the buckets.
        hashed: None, or for hashed n-grams, without entries: the kept buckets (rows,), each one's scale (rows,), the
            bits of the known words, a power of two of bytes, the number of buckets, the longest n-gram of words, the
            shortest and longest of characters, whether those reach across words, whether a count weighs 1 + ln(count),
            and whether vectors are divided by their L2 norm.
        composition: None, or what texts are normalized to NFC with: a `textmodel.composition.Composition`.

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
        ngrams: tuple[NDArray[np.float32], int, int, bool, bool] | None = None,
        hashed: tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.uint8], int, int, int, int, bool, bool, bool]
        | None = None,
        composition: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]] | None = None,
    ) -> Network: ...
    def classify(
        self,
        texts: tuple[str, ...],
        probabilities: NDArray[np.float32],
        words: NDArray[np.int32],
        known_words: NDArray[np.int32],
    ) -> None:
        """Fills (texts, classes), (texts,) and (texts,). It releases the GIL unless the texts are short.

        One unit at the end gives two columns: its complement and itself.

        Raises:
            ValueError: an array has another size, or a text holds a surrogate.
        """

    def features(self, text: str) -> dict[int, int]:
        """Returns the distinct features that the text holds, and how often: multi-hot ones once, `start` too; the rows
        of hashed n-grams.
        """

    def capsule(self) -> object:
        """Returns a capsule that keeps the network, for other native code: see native/network_api.h."""
