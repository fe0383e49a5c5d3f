"""Exports a model: one SavedModel with tokenization, vectorizer and network, and a copy of the weights for engines
without TensorFlow.

The variables have the names of the tensors in `textmodel.weights`: `dense/<n>/kernel` and `dense/<n>/bias` in the order
of the layers, the output layer last; `dense/0/kernel_scale` if that kernel is int8; `features/scale`; and, for hashed
n-grams, `features/known_words`. The SavedModel alone has `embedding`, and, for hashed n-grams, `features/kept`, int32
(rows,).
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from textmodel import signature, weights
from textmodel.graph import HashedNGramVectorizer, NGramVectorizer, Tokenizer, Words
from textmodel.metadata import HashedNGrams, Layer, MultiHot, NGrams, PaddedSequence, Tokenization
from textmodel.version_folder import LABELS_FILE, VOCABULARY_FILE
from textmodel.vocabulary import START, Vocabulary, write_lines
from training.classifiers.vectorizers import vectorize

_ACTIVATIONS = {
    "relu": tf.nn.relu,
    "sigmoid": tf.sigmoid,
    "softmax": tf.nn.softmax,
    "one-vs-rest": lambda logits: tf.nn.softmax(tf.math.log_sigmoid(logits)),
}


class Fitted(Protocol):
    """The attributes of a classifier that are exported."""

    @property
    def vectorizer(self) -> MultiHot | PaddedSequence | NGrams | HashedNGrams:
        """How a text becomes a vector."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The dense layers, the output layer last."""

    def dense_weights(self) -> list[NDArray[Any]]:
        """Returns the kernel and the bias of each of `layers`."""


class FittedOnFeatures(Fitted, Protocol):
    """The attributes of a classifier on n-grams that are exported. Its kernel has a row for each feature of `NGrams`,
    or for each kept feature of `HashedNGrams`.
    """

    scale: NDArray[np.floating[Any]]
    """(rows,): the weight of each row's feature."""


class FittedOnHashes(FittedOnFeatures, Protocol):
    """The attributes of a classifier on hashed n-grams that are exported."""

    kept: NDArray[np.int32]
    """(rows,): the bucket of each row, in ascending order."""
    known_words: NDArray[np.uint8]
    """(bits / 8,): see `hashed_ngrams.word_bits`."""
    kernel_scale: NDArray[np.float32] | None
    """(units,): what the columns of an int8 kernel are multiplied by; None for a kernel of floats."""


def export(
    classifier: Fitted,
    vocabulary: Vocabulary | None,
    labels: Sequence[str],
    path: Path,
    tokenization: Tokenization = "keras",
) -> None:
    """Writes the SavedModel and the weights' file into the folder `path`.

    Args:
        classifier: what was fitted; on n-grams, with the attributes of `FittedOnFeatures` or `FittedOnHashes`.
        vocabulary: None for hashed n-grams.
        labels: in the order of the classes.
        path: the version folder.
        tokenization: the tokenization that gives the vocabulary's words. Hashed n-grams always use `unicode`.

    Raises:
        OSError: the folder cannot be written.
    """
    with tempfile.TemporaryDirectory() as temporary:
        vocabulary_file, labels_file = Path(temporary, VOCABULARY_FILE), Path(temporary, LABELS_FILE)
        write_lines(labels_file, labels)
        if vocabulary is None:
            graph: _Graph = _HashedGraph(cast("FittedOnHashes", classifier), labels_file)
        else:
            vocabulary.write(vocabulary_file)
            tokenizer = Tokenizer(vocabulary_file, tokenization)
            graph = _WORD_GRAPHS[type(classifier.vectorizer)](classifier, tokenizer, labels_file)
        try:
            tf.saved_model.save(graph, str(path), {signature.SIGNATURE: graph.classify})
        except tf.errors.OpError as error:
            raise OSError(f"{path}: {error.message}") from error
    if not isinstance(classifier.vectorizer, PaddedSequence):
        weights.write(path, _tensors(classifier))


def _tensors(classifier: Fitted) -> dict[str, NDArray[Any]]:
    """Returns the classifier's weights by name. Features with a scale of zero, which are most, are left out."""
    names = [f"dense/{number}/{part}" for number in range(len(classifier.layers)) for part in ("kernel", "bias")]
    tensors: dict[str, NDArray[Any]] = dict(zip(names, classifier.dense_weights(), strict=True))
    if isinstance(classifier.vectorizer, NGrams):
        scale = cast("FittedOnFeatures", classifier).scale
        kept = np.flatnonzero(scale)
        tensors[weights.KEPT] = weights.kept_bits(kept, len(scale))
        tensors["features/scale"] = scale[kept]
        tensors["dense/0/kernel"] = tensors["dense/0/kernel"][kept]
    elif isinstance(classifier.vectorizer, HashedNGrams):
        hashed = cast("FittedOnHashes", classifier)
        tensors[weights.KEPT] = weights.kept_bits(hashed.kept, classifier.vectorizer.buckets)
        tensors["features/scale"] = hashed.scale
        tensors[weights.KNOWN_WORDS] = hashed.known_words
        if hashed.kernel_scale is not None:
            tensors["dense/0/kernel_scale"] = hashed.kernel_scale
    return tensors


class _Dense(tf.Module):
    def __init__(self, layer: Layer, kernel: NDArray[Any], bias: NDArray[np.floating[Any]]) -> None:
        super().__init__()
        self.kernel = tf.Variable(kernel, name="kernel")
        self.bias = tf.Variable(bias, name="bias")
        self._activation = _ACTIVATIONS[layer.activation]

    def __call__(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.activate(tf.matmul(inputs, self.kernel))

    def activate(self, products: tf.Tensor) -> tf.Tensor:
        return self._activation(products + self.bias)


class _Graph(tf.Module):
    """The graph of a model. A subclass computes the first layer's output from the texts."""

    def __init__(self, classifier: Fitted, labels_file: Path) -> None:
        super().__init__()
        self.labels = tf.saved_model.Asset(str(labels_file))
        parts = classifier.dense_weights()
        self.dense = [
            _Dense(layer, kernel, bias)
            for layer, kernel, bias in zip(classifier.layers, parts[::2], parts[1::2], strict=True)
        ]

    # There is no Python to convert into ops: AutoGraph would take seconds to find none.
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, signature.TEXT)], autograph=False)  # type: ignore[untyped-decorator]
    def classify(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        output, words, known_words = self._first_layer(text, tf.size(text, tf.int64))
        for layer in self.dense[1:]:
            output = layer(output)
        return {
            signature.PROBABILITIES: tf.concat([1 - output, output], axis=1) if output.shape[1] == 1 else output,
            signature.WORDS: words,
            signature.KNOWN_WORDS: known_words,
        }

    def _first_layer(self, text: tf.Tensor, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the first layer's output, and each text's number of words and of known words."""
        raise NotImplementedError


class _HashedGraph(_Graph):
    """Sums the kernel's rows of the hashed n-grams that a text contains."""

    def __init__(self, classifier: FittedOnHashes, labels_file: Path) -> None:
        super().__init__(classifier, labels_file)
        assert isinstance(classifier.vectorizer, HashedNGrams)
        self.features = HashedNGramVectorizer(
            classifier.vectorizer, classifier.kept, classifier.scale, classifier.known_words
        )
        scale = classifier.kernel_scale
        self.dense[0].kernel_scale = None if scale is None else tf.Variable(scale, name="kernel_scale")

    def _first_layer(self, text: tf.Tensor, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        first = self.dense[0]
        vectors = self.features(text, batch)
        products = vectors.components.matmul(first.kernel, batch)
        if first.kernel_scale is not None:
            products *= first.kernel_scale
        return first.activate(products), vectors.words, vectors.known_words


class _WordGraph(_Graph):
    """A graph that tokenizes texts into words. A subclass computes the first layer's output from the words."""

    def __init__(self, classifier: Any, tokenizer: Tokenizer, labels_file: Path) -> None:
        super().__init__(classifier, labels_file)
        self._tokenize = tokenizer

    def _first_layer(self, text: tf.Tensor, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        words = self._tokenize(text)
        return self._of_words(words, batch), words.count(batch), words.count_known(batch)

    def _of_words(self, words: Words, batch: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError


class _MultiHotGraph(_WordGraph):
    """Sums the kernel's rows of the words that a text contains, instead of multiplying a vector that is mostly zeros.

    With reviews of 1.3 kB and 64 units, one text takes 404 us instead of 612 us; 64 texts take as long either way.
    """

    def _of_words(self, words: Words, batch: tf.Tensor) -> tf.Tensor:
        first = self.dense[0]
        num_words = first.kernel.shape[0]
        held, _ = tf.unique(words.row * num_words + words.index)
        rows = tf.gather(first.kernel, held % num_words)
        products = tf.math.unsorted_segment_sum(rows, held // num_words, batch)
        return first.activate(products + first.kernel[START])


class _EmbeddingGraph(_WordGraph):
    """Takes the maximum of each component over the word vectors of a text's padded row."""

    def __init__(self, classifier: Any, tokenizer: Tokenizer, labels_file: Path) -> None:
        super().__init__(classifier, tokenizer, labels_file)
        self.embedding = tf.Variable(classifier.network.get_weights()[0], name="embedding")
        self._vectorizer = classifier.vectorizer

    def _of_words(self, words: Words, batch: tf.Tensor) -> tf.Tensor:
        indices = tf.RaggedTensor.from_value_rowids(words.index, words.row, batch, validate=False)
        start = tf.fill([batch, 1], tf.constant(START, tf.int64))
        row = vectorize(self._vectorizer, tf.concat([start, indices], axis=1))
        return self.dense[0](tf.reduce_max(tf.gather(self.embedding, row), axis=1))


class _NGramGraph(_WordGraph):
    """Sums the kernel's rows of the n-grams that a text contains."""

    def __init__(self, classifier: Any, tokenizer: Tokenizer, labels_file: Path) -> None:
        super().__init__(classifier, tokenizer, labels_file)
        self.features = NGramVectorizer(classifier.vectorizer, classifier.scale)

    def _of_words(self, words: Words, batch: tf.Tensor) -> tf.Tensor:
        first = self.dense[0]
        return first.activate(self.features(words, batch).matmul(first.kernel, batch))


_WORD_GRAPHS: dict[type, type[_WordGraph]] = {
    MultiHot: _MultiHotGraph,
    PaddedSequence: _EmbeddingGraph,
    NGrams: _NGramGraph,
}
