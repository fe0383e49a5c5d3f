"""Small bag-of-words versions, exported by TensorFlow as training exports them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import tensorflow as tf

from textmodel import probes, signature
from textmodel.graph import Tokenizer
from textmodel.metadata import DataSet, Layer, Metadata, MultiHot, TestMetrics
from textmodel.tensorflow_engine import TensorFlowEngine
from textmodel.version_folder import LABELS_FILE, VOCABULARY_FILE, VersionFolder
from textmodel.vocabulary import START, Vocabulary, write_lines

ACTIVATIONS = {"linear": tf.identity, "relu": tf.nn.relu, "sigmoid": tf.sigmoid, "softmax": tf.nn.softmax}

class _Dense(tf.Module):
    def __init__(self, kernel: tf.Tensor, bias: tf.Tensor) -> None:
        super().__init__()
        self.kernel, self.bias = tf.Variable(kernel), tf.Variable(bias)


class _Graph(tf.Module):
    def __init__(self, vocabulary_file: Path, num_words: int, layers: Sequence[Layer], scale: float) -> None:
        super().__init__()
        self._tokenize = Tokenizer(vocabulary_file)
        self._num_words, self._layers = num_words, layers
        random = np.random.default_rng(0)
        widths = [num_words, *(layer.units for layer in layers)]
        self.dense = [
            _Dense(
                random.normal(scale=scale, size=shape).astype(np.float32),
                random.normal(size=shape[1]).astype(np.float32),
            )
            for shape in zip(widths, widths[1:], strict=False)
        ]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, signature.TEXT)])  # type: ignore[untyped-decorator]
    def classify(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        batch = tf.size(text, tf.int64)
        words = self._tokenize(text)
        starts = tf.stack([tf.range(batch), tf.fill([batch], tf.constant(START, tf.int64))], axis=1)
        ones = tf.concat([starts, tf.stack([words.row, words.index], axis=1)], axis=0)
        counts = tf.scatter_nd(ones, tf.ones_like(ones[:, 0], tf.float32), [batch, self._num_words])
        output = tf.minimum(counts, 1)
        for dense, layer in zip(self.dense, self._layers, strict=True):
            output = ACTIVATIONS[layer.activation](output @ dense.kernel + dense.bias)
        return {
            signature.PROBABILITIES: tf.concat([1 - output, output], axis=1) if output.shape[1] == 1 else output,
            signature.WORDS: words.count(batch),
            signature.KNOWN_WORDS: words.count_known(batch),
        }


def write_version(path: Path, vocabulary: Vocabulary, layers: Sequence[Layer], scale: float = 0.3) -> VersionFolder:
    """Writes a version with random weights of this standard deviation."""
    folder = VersionFolder(path)
    vocabulary_file = path.parent / VOCABULARY_FILE
    vocabulary.write(vocabulary_file)
    graph = _Graph(vocabulary_file, len(vocabulary), layers, scale)
    tf.saved_model.save(graph, str(path), {signature.SIGNATURE: graph.classify})
    vocabulary_file.unlink()
    write_lines(folder.assets / LABELS_FILE, [f"class {number}" for number in range(max(2, layers[-1].units))])
    folder.assets_extra.mkdir()
    Metadata(
        name="test",
        vectorizer=MultiHot(len(vocabulary)),
        network=tuple(layers),
        data_set=DataSet("none", 0, 0, 0),
        training={},
        test_metrics=TestMetrics(0, 0, 0),
        created_at=datetime.now(UTC),
        packages={},
    ).write(folder.metadata_file)
    texts = ["", "the film", "A Straße!"]
    answers = TensorFlowEngine(path).classify(texts).probabilities
    probes.write(
        folder.probes_file,
        [probes.Probe(text, tuple(map(float, answer))) for text, answer in zip(texts, answers, strict=True)],
    )
    return folder
