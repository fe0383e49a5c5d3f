"""Reads, checks and writes the weights of a version in a plain format, `assets.extra/weights.safetensors`, for every
engine that runs without TensorFlow.

The tensors have the names of the SavedModel's variables: `dense/0/kernel` (inputs, units), `dense/0/bias` (units,), and
so on, the output layer last. N-grams have `features/scale` (features,). Kernels and scales are float32 or float16. A
kernel may also be int8: `dense/0/kernel_scale`, float32 (units,), then multiplies its columns.

The first kernel and the scale may have rows for some features only. The bits of `features/kept`, uint8 (features / 8,),
lowest bit first, say for which; all other features are zero. For hashed n-grams, the bits of `features/known_words`,
uint8, say which words the model knows: see `textmodel.hashed_ngrams`.

The metadata in the header contain the SHA-256 of all tensors, and of each file of the SavedModel's checkpoint. So a
damaged or exchanged file on either side is an error, never a wrong number.
"""

import hashlib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from textmodel import digests
from textmodel.errors import ModelError, UnsupportedError
from textmodel.metadata import HashedNGrams, Metadata, MultiHot, NGrams, PaddedSequence

WEIGHTS_FILE = "weights.safetensors"
KEPT = "features/kept"
KNOWN_WORDS = "features/known_words"


class DenseLayer(NamedTuple):
    """A dense layer's weights."""

    kernel: NDArray[np.float32]
    """(inputs, units)"""
    bias: NDArray[np.float32]
    """(units,)"""
    activation: str


class Weights(NamedTuple):
    """The dense layers of a version, the output layer last, and the scale of its features."""

    layers: tuple[DenseLayer, ...]
    scale: NDArray[np.float32] | None
    """(inputs,), for n-grams."""
    kept: NDArray[np.int32] | None
    """(inputs,), for hashed n-grams: the bucket of each input, in ascending order."""
    known_words: NDArray[np.uint8] | None
    """(bits / 8,), for hashed n-grams: see `hashed_ngrams.word_bits`."""

    @classmethod
    def read(cls, version: Path, metadata: Metadata) -> "Weights":
        """Reads the weights of a version folder and checks them against the metadata.

        Raises:
            UnsupportedError: the version has no such file, or `check_supported` refuses it.
            ModelError: the file or the checkpoint is damaged, a tensor has another type or shape, or a number is not
                finite.
        """
        check_supported(metadata)
        vectorizer = metadata.vectorizer
        assert not isinstance(vectorizer, PaddedSequence)
        tensors = _Tensors(version)
        inputs = vectorizer.num_words if isinstance(vectorizer, MultiHot) else vectorizer.features
        kept = tensors.kept(inputs) if KEPT in tensors or isinstance(vectorizer, HashedNGrams) else None
        rows = inputs if kept is None else len(kept)
        if isinstance(vectorizer, HashedNGrams) and rows != vectorizer.kept:
            raise ModelError(f"{version}: the weights keep {rows} features, but the metadata say {vectorizer.kept}")
        widths = (rows, *(layer.units for layer in metadata.network))
        layers = [
            DenseLayer(
                tensors.kernel(f"dense/{number}/kernel", shape),
                tensors.floats(f"dense/{number}/bias", shape[1:]),
                layer.activation,
            )
            for number, (shape, layer) in enumerate(zip(pairwise(widths), metadata.network, strict=True))
        ]
        if isinstance(vectorizer, MultiHot):
            return cls(tuple(layers), None, None, None)
        scale = tensors.floats("features/scale", (rows,))
        if isinstance(vectorizer, NGrams) and kept is not None:
            layers[0] = layers[0]._replace(kernel=_spread(layers[0].kernel, kept, inputs))
            scale, kept = _spread(scale, kept, inputs), None
        known_words = tensors.known_words(vectorizer) if isinstance(vectorizer, HashedNGrams) else None
        return cls(tuple(layers), scale, kept, known_words)


def check_supported(metadata: Metadata) -> None:
    """Checks that the compiled engine and explanations support the network of a version.

    Raises:
        UnsupportedError: they do not.
    """
    if isinstance(metadata.vectorizer, PaddedSequence):
        raise UnsupportedError("only models over words or n-grams run without TensorFlow; this one has an embedding")
    end = metadata.network[-1]
    if end.activation not in (("sigmoid",) if end.units == 1 else ("softmax", "one-vs-rest")):
        raise UnsupportedError("the network ends neither in softmax, one-vs-rest nor one sigmoid unit")


def kept_bits(kept: NDArray[np.integer[Any]], features: int) -> NDArray[np.uint8]:
    """Returns the tensor `features/kept` for the features that have rows."""
    bits = np.zeros(features, np.uint8)
    bits[kept] = 1
    return np.packbits(bits, bitorder="little")


def quantize(kernel: NDArray[np.floating[Any]]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Returns a kernel (inputs, units) as int8, and the scale of its units, (units,)."""
    largest = np.abs(kernel).max(axis=0, initial=0).astype(np.float32)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.rint(kernel / scale).astype(np.int8), scale


def write(version: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Writes the weights of a version folder whose SavedModel is written.

    Raises:
        OSError: the file cannot be written.
    """
    path = version / "assets.extra" / WEIGHTS_FILE
    path.parent.mkdir(exist_ok=True)
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    header = {"sha256": _digest(contiguous), "checkpoint": msgspec.json.encode(_checkpoint(version)).decode()}
    path.write_bytes(save(contiguous, header))  # `save_file` would let only the owner read the file


class _Tensors:
    """The tensors of a version's file. Each is checked when it is read."""

    def __init__(self, version: Path) -> None:
        self._path = version / "assets.extra" / WEIGHTS_FILE
        if not self._path.exists():
            raise UnsupportedError(
                f"{self._path} is missing or not copied yet: without it only TensorFlow can run this version"
            )
        try:
            with safe_open(self._path, framework="np") as file:
                header: dict[str, str] = file.metadata() or {}
                self._tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
        except (OSError, SafetensorError, TypeError) as error:
            raise ModelError(f"{self._path}: {error}") from error
        if header.get("sha256") != _digest(self._tensors):
            raise ModelError(f"{self._path}: the SHA-256 of its tensors is not the one in its header")
        self._check_checkpoint(version, header.get("checkpoint", ""))

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def floats(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Returns a float32 or float16 tensor as float32."""
        values = self._take(name, shape, np.float32, np.float16)
        if not np.isfinite(values).all():
            raise ModelError(f"{self._path}: {name}: not all of its numbers are finite")
        return values.astype(np.float32, copy=False)

    def kernel(self, name: str, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Returns a kernel as float32. In the file it may be int8, with a scale for each unit."""
        if f"{name}_scale" not in self:
            return self.floats(name, shape)
        return self._take(name, shape, np.int8) * self.floats(f"{name}_scale", shape[1:])

    def kept(self, features: int) -> NDArray[np.int32]:
        """Returns the features that have rows, in ascending order."""
        bits = np.unpackbits(self._take(KEPT, (-(-features // 8),), np.uint8), bitorder="little")
        if bits[features:].any():
            raise ModelError(f"{self._path}: {KEPT}: has bits beyond the {features} features")
        return np.flatnonzero(bits.view(np.bool_)).astype(np.int32)  # without the view, it takes six times as long

    def known_words(self, vectorizer: HashedNGrams) -> NDArray[np.uint8]:
        """Returns the bits of the known words. Versions of older trainings have none: a word is known there if it is a
        feature, and every word is known if there are only n-grams of characters.
        """
        if KNOWN_WORDS not in self:
            return self._tensors[KEPT] if vectorizer.words else np.full(1, 0xFF, np.uint8)
        size = self._tensors[KNOWN_WORDS].size
        if size.bit_count() != 1:
            raise ModelError(f"{self._path}: {KNOWN_WORDS}: {size} bytes are not a power of two")
        return self._take(KNOWN_WORDS, (size,), np.uint8)

    def _take(self, name: str, shape: tuple[int, ...], *dtypes: type[np.number[Any]]) -> NDArray[Any]:
        if name not in self:
            raise ModelError(f"{self._path}: there is no tensor {name}")
        tensor: NDArray[Any] = self._tensors[name]
        if tensor.dtype not in dtypes:
            expected = " or ".join(dtype.__name__ for dtype in dtypes)
            raise ModelError(f"{self._path}: {name}: data type {tensor.dtype} instead of {expected}")
        if tensor.shape != shape:
            raise ModelError(f"{self._path}: {name}: shape {tensor.shape} instead of {shape}")
        return tensor

    def _check_checkpoint(self, version: Path, header: str) -> None:
        try:
            expected = msgspec.json.decode(header, type=dict[str, str])
        except msgspec.DecodeError as error:
            raise ModelError(f"{self._path}: its header does not name the checkpoint's files") from error
        found = _checkpoint(version)
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                file = version / "variables" / name
                if name not in found:
                    raise ModelError(f"{file} is missing or not copied yet")
                raise ModelError(f"{file}: damaged, or not written together with {WEIGHTS_FILE}")


def _checkpoint(version: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file of the SavedModel's checkpoint."""
    try:
        files = sorted((version / "variables").iterdir())
    except OSError as error:
        raise ModelError(f"{error.filename}: {error.strerror}") from error
    return {file.name: digests.of_file(file) for file in files}


def _digest(tensors: Mapping[str, NDArray[Any]]) -> str:
    """Returns the SHA-256 of all tensors' bytes, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()


def _spread(rows: NDArray[np.float32], kept: NDArray[np.int32], features: int) -> NDArray[np.float32]:
    """Returns an array with a row for every feature: zeros for features without a row."""
    spread = np.zeros((features, *rows.shape[1:]), np.float32)
    spread[kept] = rows
    return spread
