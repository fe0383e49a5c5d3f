"""Keras's data sets as integer sequences: exactly what `keras.datasets.{imdb,reuters}.load_data` returns.

They are read from a folder with Keras's own files, or Keras downloads them to its cache.
"""

import io
import pickle  # nosec B403
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from textfiles import InputError
from textmodel.metadata import Tokenization
from textmodel.vocabulary import FIRST_WORD, START, UNKNOWN, Vocabulary
from training.data.labelled_file import LabelledText
from training.data.targets import Targets, one_hot

_REUTERS_TOPICS = (
    "cocoa grain veg-oil earn acq wheat copper housing money-supply coffee sugar trade reserves ship cotton carcass"
    " crude nat-gas cpi money-fx interest gnp meal-feed alum oilseed gold tin strategic-metal livestock retail ipi"
    " iron-steel rubber heat jobs lei bop zinc orange pet-chem dlr gas silver wpi hog lead"
)
LABELS = {"imdb": ("negative", "positive"), "reuters": tuple(_REUTERS_TOPICS.split())}
"""The names of the classes, in order. Those of Reuters are `keras.datasets.reuters.get_label_names()`."""

# Defaults of load_data.
_SEED = 113
_REUTERS_TEST_SPLIT = 0.2
_INDEX_FROM = FIRST_WORD - 1


@dataclass(frozen=True)
class Examples:
    """Labelled texts.

    Args:
        sequences: each int32 (words + 1,): `START`, then an index below `num_words` for each word.
        classes: int64 (texts,), positions in the labels. A text with only a soft label has its most probable class.
        texts: the texts themselves; None for Keras's data sets, which are indices.
        targets: the targets of texts with soft labels or weights. None: each text has the weight 1 for its class.
    """

    sequences: Sequence[NDArray[np.int32]]
    classes: NDArray[np.int64]
    texts: Sequence[str] | None = None
    targets: Targets | None = None

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def unknown_word_ratio(self) -> float:
        """Share of the words that are `UNKNOWN`; 0 if there are no words."""
        words = sum(len(sequence) - 1 for sequence in self.sequences)
        unknown = sum(int(np.count_nonzero(sequence == UNKNOWN)) for sequence in self.sequences)
        return unknown / words if words else 0.0

    def split(self, count: int) -> tuple["Examples", "Examples"]:
        """Returns the first `count` texts, and the others."""
        return self.part(slice(count)), self.part(slice(count, None))

    def part(self, rows: slice) -> "Examples":
        """Returns the texts of a slice."""
        texts = None if self.texts is None else self.texts[rows]
        return Examples(self.sequences[rows], self.classes[rows], texts, self.targets and self.targets.part(rows))

    def take(self, rows: NDArray[np.int64]) -> "Examples":
        """Returns the texts at these positions."""
        texts = None if self.texts is None else [self.texts[row] for row in rows]
        sequences = [self.sequences[row] for row in rows]
        return Examples(sequences, self.classes[rows], texts, self.targets and self.targets.part(rows))

    def learned(self, count: int) -> csr_array:
        """Returns the targets of training, float64 (texts, count), for `count` classes: see `Targets`."""
        return self.targets.learned if self.targets else one_hot(self.classes, count)

    def judged(self, count: int) -> csr_array:
        """Returns the targets of validation, float64 (texts, count), for `count` classes: see `Targets`."""
        return self.targets.judged if self.targets else one_hot(self.classes, count)


@dataclass(frozen=True)
class SplitDataset:
    """Training and test texts, with the vocabulary of their indices and the labels of their classes."""

    name: str
    tokenization: Tokenization
    """The tokenization of the texts."""
    labels: tuple[str, ...]
    vocabulary: Vocabulary
    training: Examples
    test: Examples


def load(name: str, data_dir: Path | None, num_words: int | None) -> SplitDataset:
    """Loads a data set.

    Args:
        name: a key of `LABELS`.
        data_dir: the folder with `<name>.npz` and `<name>_word_index.json`; None lets Keras download them.
        num_words: number of word indices; a word with this index or a higher one becomes `UNKNOWN`. None: as many as
            there are words.

    Raises:
        InputError: a file is missing or malformed, there are fewer words than `num_words`, or the download failed.
    """
    if data_dir is None:
        ranks, training, test = _download(name, num_words)
    else:
        ranks = _read_word_index(data_dir / f"{name}_word_index.json")
        training, test = _read_examples(name, data_dir / f"{name}.npz", num_words)
    largest = max(ranks.values(), default=0) + FIRST_WORD
    if num_words is not None and num_words > largest:
        raise InputError(f"--num-words {num_words} is more than the {largest} indices that {name} has: ask for fewer")
    return SplitDataset(name, "keras", LABELS[name], Vocabulary.from_ranks(ranks, num_words or largest), training, test)


def test_rows(name: str, data_dir: Path | None) -> Iterator[LabelledText]:
    """Yields the test texts of a data set as text, their words separated by spaces, so that versions with different
    vocabularies can be compared.

    Args:
        name: a key of `LABELS`.
        data_dir: as for `load`.

    Raises:
        InputError: as `load` does.
    """
    data = load(name, data_dir, None)
    for number, (sequence, label) in enumerate(zip(data.test.sequences, data.test.classes, strict=True), 1):
        words = (data.vocabulary.entries[index] for index in sequence if index >= FIRST_WORD)
        yield LabelledText(" ".join(words), data.labels[label], number)


def _download(name: str, num_words: int | None) -> tuple[Mapping[str, int], Examples, Examples]:
    import keras  # noqa: PLC0415, it imports TensorFlow, which only the download needs

    source = getattr(keras.datasets, name)
    try:
        parts = source.load_data(num_words=num_words or sys.maxsize)  # the default leaves out the last word
        ranks = source.get_word_index()
    except Exception as error:  # what Keras raises when a download fails
        raise InputError(
            f"Keras cannot download {name} ({error}): check the network, or name a folder with its files by --data-dir"
        ) from error
    training, test = (
        Examples([np.asarray(sequence, np.int32) for sequence in sequences], classes) for sequences, classes in parts
    )
    return ranks, training, test


def _read_examples(name: str, path: Path, num_words: int | None) -> tuple[Examples, Examples]:
    """Returns the training and the test texts, shuffled and split as load_data does."""
    arrays = _read_npz(path)
    random = np.random.RandomState(_SEED)

    def shuffled(x: str, y: str) -> Examples:
        ranks, classes = _texts(arrays, x, path), _classes(arrays, y, path, len(LABELS[name]))
        if len(ranks) != len(classes):
            raise InputError(f"{path}: {x} has {len(ranks)} texts, but {y} has {len(classes)} classes")
        order = random.permutation(len(ranks))
        return Examples([_indices(ranks[row], num_words) for row in order], classes[order])

    if name == "reuters":
        everything = shuffled("x", "y")
        return everything.split(int(len(everything) * (1 - _REUTERS_TEST_SPLIT)))
    return shuffled("x_train", "y_train"), shuffled("x_test", "y_test")


def _indices(ranks: NDArray[np.int64], num_words: int | None) -> NDArray[np.int32]:
    indices = np.concatenate(([START], ranks + _INDEX_FROM))
    return np.where(indices < (num_words or np.inf), indices, UNKNOWN).astype(np.int32)


def _texts(arrays: Mapping[str, NDArray[Any]], key: str, path: Path) -> list[NDArray[np.int64]]:
    """Returns the ranks of each text's words, after checking them."""
    texts = _array(arrays, key, path)
    if texts.dtype != object or texts.ndim != 1:
        raise InputError(f"{path}: {key} is not a one-dimensional array of lists, as in Keras's {path.name}")
    return [_ranks(text, f"{path}: {key}[{row}]") for row, text in enumerate(texts)]


def _ranks(text: object, where: str) -> NDArray[np.int64]:
    try:
        ranks = np.asarray(text if isinstance(text, list | np.ndarray) else None)
    except ValueError:  # lists of different lengths inside
        ranks = np.asarray(None)
    integers = np.issubdtype(ranks.dtype, np.integer) and np.can_cast(ranks.dtype, np.int64)
    if ranks.ndim != 1 or (ranks.size and not (integers and ranks.min() >= 1)):
        raise InputError(f"{where} is not a list of word ranks, positive integers: take Keras's own file")
    return ranks.astype(np.int64)


def _classes(arrays: Mapping[str, NDArray[Any]], key: str, path: Path, count: int) -> NDArray[np.int64]:
    classes = _array(arrays, key, path)
    if classes.dtype.kind not in "iu" or classes.ndim != 1:
        raise InputError(f"{path}: {key} is not a one-dimensional array of integers, as in Keras's {path.name}")
    for row in np.flatnonzero((classes < 0) | (classes >= count)):
        raise InputError(f"{path}: {key}[{row}] is {classes[row]}, but the classes are 0 to {count - 1}")
    return classes.astype(np.int64)


def _array(arrays: Mapping[str, NDArray[Any]], key: str, path: Path) -> NDArray[Any]:
    if key not in arrays:
        raise InputError(f"{path}: holds no array {key!r}: take Keras's own file")
    if not arrays[key].size:
        raise InputError(f"{path}: {key} is empty: take Keras's own file")
    return arrays[key]


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy"): _read_npy(archive.read(name)) for name in archive.namelist()}
    except OSError as error:
        raise _unreadable(path, error) from error
    except Exception as error:  # damaged bytes raise anything: see the documentation of pickle
        raise InputError(f"{path}: not a .npz file of arrays ({error}): take Keras's own file") from error


def _read_npy(content: bytes) -> NDArray[Any]:
    """Reads an array, which may contain lists. Unlike `numpy.load`, it runs no code from the file."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    _, _, dtype = read_header(file)
    if dtype.hasobject:
        array = _ArrayUnpickler(file).load()
        if not isinstance(array, np.ndarray):
            raise pickle.UnpicklingError("no array in it")
        return array
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles only lists, numbers and arrays."""

    def find_class(self, module: str, name: str) -> object:
        module = module.replace("numpy.core.", "numpy._core.")  # NumPy 1 has another name
        if (module, name) not in {
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "scalar"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a data set")
        return super().find_class(module, name)


def _read_word_index(path: Path) -> dict[str, int]:
    try:
        ranks = msgspec.json.decode(path.read_bytes(), type=dict[str, Annotated[int, msgspec.Meta(ge=1)]])
    except OSError as error:
        raise _unreadable(path, error) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a JSON object of words and ranks ({error}): take Keras's own file") from error
    if len(set(ranks.values())) != len(ranks):
        raise InputError(f"{path}: two words have the same rank: take Keras's own file")
    return ranks


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: {error.strerror}: name the folder that holds it by --data-dir, or let Keras download")
