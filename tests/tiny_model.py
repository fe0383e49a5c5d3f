"""Writes small model versions with random weights: real SavedModels with the contract's signature and files."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from textmodel import VersionFolder, probes, signature, weights
from textmodel.graph import HashedNGramVectorizer, NGramVectorizer, Tokenizer, Words
from textmodel.metadata import (
    DataSet,
    HashedNGrams,
    Layer,
    Metadata,
    MultiHot,
    NGrams,
    TestMetrics,
    Tokenization,
)
from textmodel.version_folder import LABELS_FILE, VOCABULARY_FILE, new_version
from textmodel.vocabulary import START, Vocabulary, write_lines

WORDS = ("the", "a", "film", "moving", "dull", "oil", "don't", "café", "σας", "i̇stanbul")
_WRITTEN = TemporaryDirectory()
"""Versions to be copied. Removed at the end of the process."""
PROBE_TEXTS = ("the moving film", "", "DULL, dull... and don't!", "ΣΑΣ café \0 İstanbul 😀")


class _Network(tf.Module):
    def __init__(
        self,
        folder: Path,
        vectorizer: MultiHot | NGrams | HashedNGrams,
        tokenization: Tokenization,
        units: Sequence[int],
        *,
        scale: float,
        seed: int,
        poison: str | None,
        dtype: np.dtype[np.floating[Any]],
    ) -> None:
        super().__init__()
        random = np.random.default_rng(seed)
        if not isinstance(vectorizer, HashedNGrams):
            self.tokenizer = Tokenizer(folder / VOCABULARY_FILE, tokenization)
        self.labels = tf.saved_model.Asset(str(folder / LABELS_FILE))
        self._vectorizer = vectorizer
        self.features: Any = None
        if isinstance(vectorizer, HashedNGrams):
            size = vectorizer.kept
            kept = np.sort(random.permutation(vectorizer.buckets)[:size]).astype(np.int32)
            known_words = random.integers(0, 256, 16, np.uint8)
            self.features = HashedNGramVectorizer(
                vectorizer, kept, random.normal(0, 1, size).astype(dtype), known_words
            )
        elif isinstance(vectorizer, NGrams):
            size = vectorizer.features
            self.features = NGramVectorizer(vectorizer, random.normal(0, 1, size).astype(dtype))
        else:
            size = vectorizer.num_words
        self.dense = []
        for inputs, outputs in zip((size, *units), units, strict=False):
            layer = tf.Module()
            layer.kernel = tf.Variable(random.normal(0, scale, (inputs, outputs)).astype(np.float32))
            layer.bias = tf.Variable(random.normal(0, 1, outputs).astype(np.float32))
            self.dense.append(layer)
        self.dense[0].kernel = tf.Variable(tf.cast(self.dense[0].kernel, dtype))
        self._poison = poison

    def tensors(self) -> dict[str, NDArray[np.floating[Any]]]:
        """The weights by name."""
        tensors = {
            f"dense/{number}/{part}": getattr(layer, part).numpy()
            for number, layer in enumerate(self.dense)
            for part in ("kernel", "bias")
        }
        if self.features is not None:
            tensors["features/scale"] = self.features.scale.numpy()
        if isinstance(self._vectorizer, HashedNGrams):
            tensors[weights.KEPT] = weights.kept_bits(self.features.kept.numpy(), self._vectorizer.buckets)
            tensors[weights.KNOWN_WORDS] = self.features.known_words.numpy()
        return tensors

    def classify(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        batch = tf.size(text, tf.int64)
        checks = []
        if self._poison is not None:
            checks = [tf.debugging.assert_none_equal(text, self._poison)]
        with tf.control_dependencies(checks):
            text = tf.identity(text)
        products, words, known = self._products(text, batch)
        value = products + self.dense[0].bias
        for layer in self.dense[1:]:
            value = tf.nn.relu(value) @ layer.kernel + layer.bias
        if value.shape[1] == 1:
            positive = tf.sigmoid(value)
            probabilities = tf.concat([1 - positive, positive], 1)
        else:
            probabilities = tf.nn.softmax(value)
        return {
            signature.PROBABILITIES: probabilities,
            signature.WORDS: words,
            signature.KNOWN_WORDS: known,
        }

    def _products(self, text: tf.Tensor, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The texts' vectors times the first kernel, and their counts of words and known words."""
        kernel = self.dense[0].kernel
        if isinstance(self._vectorizer, HashedNGrams):
            vectors = self.features(text, batch)
            return vectors.components.matmul(kernel, batch), vectors.words, vectors.known_words
        words = self.tokenizer(text)
        return self._products_of_words(words, batch, kernel), words.count(batch), words.count_known(batch)

    def _products_of_words(self, words: Words, batch: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        if isinstance(self._vectorizer, NGrams):
            return self.features(words, batch).matmul(kernel, batch)
        where = tf.concat(
            [
                tf.stack([words.row, words.index], 1),
                tf.stack([tf.range(batch), tf.fill([batch], tf.constant(START, tf.int64))], 1),
            ],
            0,
        )
        multi_hot = tf.minimum(tf.scatter_nd(where, tf.ones(tf.shape(where)[:1]), [batch, kernel.shape[0]]), 1)
        return multi_hot @ tf.cast(kernel, tf.float32)


def write_model(
    models: Path,
    name: str,
    *,
    words: Sequence[str] = WORDS,
    labels: Sequence[str] = ("negative", "positive"),
    hidden: Sequence[int] = (4,),
    scale: float = 1,
    seed: int = 0,
    poison: str | None = None,
    vectorizer: Callable[[int], MultiHot | NGrams | HashedNGrams] = MultiHot,
    tokenization: Tokenization = "keras",
    dtype: type[np.floating[Any]] = np.float32,
) -> VersionFolder:
    """Writes the next version of a model.

    Args:
        models: folder of the models.
        name: the model's name.
        words: its vocabulary.
        labels: two give a network with one sigmoid unit, more a softmax.
        hidden: units of the hidden layers.
        scale: standard deviation of the kernels' weights.
        seed: of the weights.
        poison: a text at which the graph fails.
        vectorizer: of a vocabulary of so many entries.
        tokenization: how its texts become words.
        dtype: of the first kernel and the features' scale.
    """
    written = _write(
        words=tuple(words),
        labels=tuple(labels),
        hidden=tuple(hidden),
        scale=scale,
        seed=seed,
        poison=poison,
        vector=vectorizer(4 + len(words)),
        tokenization=tokenization,
        dtype=np.dtype(dtype),
    )
    with new_version(models, name) as folder:
        shutil.copytree(written.path, folder.path, dirs_exist_ok=True)
        msgspec.structs.replace(written.metadata, name=name, created_at=datetime.now(UTC)).write(folder.metadata_file)
    return folder


@cache
def _write(
    *,
    words: tuple[str, ...],
    labels: tuple[str, ...],
    hidden: tuple[int, ...],
    scale: float,
    seed: int,
    poison: str | None,
    vector: MultiHot | NGrams | HashedNGrams,
    tokenization: Tokenization,
    dtype: np.dtype[np.floating[Any]],
) -> VersionFolder:
    """Writes a version to be copied: TensorFlow takes about a second to trace and save a graph."""
    units = (*hidden, 1 if len(labels) == 2 else len(labels))
    vocabulary = Vocabulary.from_ranks({word: rank for rank, word in enumerate(words, 1)}, 4 + len(words))
    with TemporaryDirectory() as temporary, new_version(Path(_WRITTEN.name), "model") as folder:
        vocabulary.write(Path(temporary) / VOCABULARY_FILE)
        write_lines(Path(temporary) / LABELS_FILE, labels)
        network = _Network(
            Path(temporary), vector, tokenization, units, scale=scale, seed=seed, poison=poison, dtype=dtype
        )
        # As a function that the network does not hold, the graph is traced once for the file and the probes.
        text = tf.TensorSpec([None], tf.string, name=signature.TEXT)
        classify = tf.function(network.classify, input_signature=[text], autograph=False).get_concrete_function()
        tf.saved_model.save(network, str(folder.path), signatures={signature.SIGNATURE: classify})
        weights.write(folder.path, network.tensors())
        probes.write(folder.probes_file, _probes(classify))
        metadata = made_up_metadata("model", vector, _layers(units), tokenization)
        msgspec.structs.replace(metadata, sha256=folder.sha256()).write(folder.metadata_file)
    return folder


def _probes(classify: Callable[[tf.Tensor], Mapping[str, tf.Tensor]]) -> list[probes.Probe]:
    answers = classify(tf.constant(PROBE_TEXTS))[signature.PROBABILITIES].numpy().tolist()
    return [probes.Probe(text, tuple(answer)) for text, answer in zip(PROBE_TEXTS, answers, strict=True)]


def _layers(units: Sequence[int]) -> tuple[Layer, ...]:
    *hidden, classes = units
    return (*(Layer(count, "relu") for count in hidden), Layer(classes, "sigmoid" if classes == 1 else "softmax"))


def made_up_metadata(
    name: str, vectorizer: MultiHot | NGrams | HashedNGrams, network: tuple[Layer, ...], tokenization: Tokenization
) -> Metadata:
    """Returns the metadata of a version whose data and training nobody knows."""
    return Metadata(
        name=name,
        vectorizer=vectorizer,
        network=network,
        data_set=DataSet("made up", 0, 0, 0),
        training={},
        test_metrics=TestMetrics(0.5, 0.5, 0.5),
        created_at=datetime.now(UTC),
        packages={},
        tokenization=tokenization,
    )
