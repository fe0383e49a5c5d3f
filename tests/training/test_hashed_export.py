"""The export of classifiers on hashed n-grams: both engines answer as NumPy does from the specification."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from tests.tiny_model import made_up_metadata
from textmodel import weights
from textmodel.compiled_engine import CompiledEngine
from textmodel.hashed_ngrams import count_words, features, known_hashes, rows_of, word_bits
from textmodel.metadata import CharacterNGrams, HashedNGrams, Layer
from textmodel.ngrams import weigh
from textmodel.probes import TOLERANCE
from textmodel.tensorflow_engine import TensorFlowEngine
from textmodel.version_folder import VersionFolder
from training.classifiers.ngram import NGramClassifier
from training.export import export
from training.settings import OWN_DATA, PRESETS

TEXTS = ["", "정말 최고예요ㅠㅠ!!", "the don't THE", "e\u0301té 😀😀", "word " * 500]
VECTORIZER = HashedNGrams(2, CharacterNGrams(1, 4, across_words=True), 1 << 12, 3000, "log", normalize=True)
LABELS = ("a", "b", "c")


@dataclass
class Fitted:
    """A classifier with random weights."""

    vectorizer: HashedNGrams
    layers: tuple[Layer, ...]
    kept: NDArray[np.int32]
    scale: NDArray[np.float16]
    known_words: NDArray[np.uint8]
    kernel: NDArray[Any]
    kernel_scale: NDArray[np.float32] | None
    bias: NDArray[np.float32]

    def dense_weights(self) -> list[NDArray[Any]]:
        return [self.kernel, self.bias]

    def probabilities(self, texts: list[str]) -> NDArray[np.float64]:
        rows = rows_of(features(self.vectorizer, texts), self.kept)
        values = weigh(self.vectorizer, rows, self.scale.astype(np.float32)).astype(np.float64)
        kernel = self.kernel.astype(np.float64) * (1 if self.kernel_scale is None else self.kernel_scale)
        products = values[:, np.newaxis] * kernel[rows.ids]
        parts = [products[slice(*rows.row_splits[number : number + 2])].sum(axis=0) for number in range(len(texts))]
        sigmoids = 1 / (1 + np.exp(-(np.array(parts) + self.bias)))
        probabilities: NDArray[np.float64] = sigmoids / sigmoids.sum(axis=1, keepdims=True)
        return probabilities


@pytest.fixture(scope="module", params=["float16", "int8"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Fitted, VersionFolder]:
    random = np.random.default_rng(0)
    kept = np.sort(random.permutation(VECTORIZER.buckets)[: VECTORIZER.kept]).astype(np.int32)
    kernel: NDArray[Any] = random.normal(size=(len(kept), len(LABELS))) * [1, 5, 0]
    kernel_scale = None
    if request.param == "int8":
        kernel, kernel_scale = weights.quantize(kernel)
    else:
        kernel = kernel.astype(np.float16)
    fitted = Fitted(
        VECTORIZER,
        (Layer(len(LABELS), "one-vs-rest"),),
        kept,
        random.uniform(0.5, 2, len(kept)).astype(np.float16),
        word_bits(known_hashes(["the don", "최고예요ㅠㅠ"], characters=True).hash),
        kernel,
        kernel_scale,
        random.normal(size=len(LABELS)).astype(np.float32),
    )
    path = tmp_path_factory.mktemp("export") / "1"
    export(fitted, None, LABELS, path)
    folder = VersionFolder(path)
    folder.assets_extra.mkdir(exist_ok=True)
    made_up_metadata("exported", VECTORIZER, fitted.layers, "unicode").write(folder.metadata_file)
    return fitted, folder


def test_both_engines_answer_as_numpy(exported: tuple[Fitted, VersionFolder]) -> None:
    fitted, folder = exported
    expected = fitted.probabilities(TEXTS)
    for engine in (TensorFlowEngine(folder.path), CompiledEngine(folder)):
        answer = engine.classify(TEXTS)
        np.testing.assert_allclose(answer.probabilities, expected, rtol=0, atol=TOLERANCE)
        np.testing.assert_array_equal(answer.known_words, count_words(TEXTS, fitted.known_words).known)
        assert answer.known_words.tolist() == [0, 1, 3, 0, 0]


def test_the_checkpoint_and_the_weights_hold_the_same(exported: tuple[Fitted, VersionFolder]) -> None:
    fitted, folder = exported
    reader = tf.train.load_checkpoint(str(folder.path / "variables" / "variables"))
    expected = {
        "features/kept": fitted.kept,
        "features/scale": fitted.scale,
        "features/known_words": fitted.known_words,
        "dense/0/kernel": fitted.kernel,
        "dense/0/bias": fitted.bias,
    }
    if fitted.kernel_scale is not None:
        expected["dense/0/kernel_scale"] = fitted.kernel_scale
    keys = {f"{name}/.ATTRIBUTES/VARIABLE_VALUE": tensor for name, tensor in expected.items()}
    assert {*keys, "_CHECKPOINTABLE_OBJECT_GRAPH"} == set(reader.get_variable_to_shape_map())
    for key, tensor in keys.items():
        np.testing.assert_array_equal(reader.get_tensor(key), tensor, strict=True)
    read = folder.weights
    np.testing.assert_array_equal(read.kept, fitted.kept)
    np.testing.assert_array_equal(read.scale, fitted.scale)
    np.testing.assert_array_equal(read.known_words, fitted.known_words)


def test_an_int8_kernel_is_within_half_a_step() -> None:
    kernel = np.random.default_rng(0).normal(size=(1000, 4)) * [0, 1, 10, 0.01]
    rounded, scale = weights.quantize(kernel)
    assert rounded.dtype == np.int8
    assert (np.abs(rounded * scale - kernel) <= scale * 0.501).all()
    assert np.abs(rounded).max(axis=0).tolist() == [0, 127, 127, 127]


@pytest.mark.parametrize("classes", [9, 100])
def test_the_largest_model_of_a_hundred_classes_or_fewer_stays_below_40_mb(classes: int, tmp_path: Path) -> None:
    settings = replace(PRESETS[OWN_DATA]["ngram"], features="both", max_ngram=2, char_ngrams=(1, 5), cost=1.0)
    classifier = NGramClassifier(settings, classes)
    most = classifier.max_features
    assert most is not None
    vectorizer = msgspec.structs.replace(classifier.vectorizer, kept=most)
    quantized = classes >= 10
    fitted = Fitted(
        vectorizer,  # type: ignore[arg-type]
        classifier.layers,
        np.arange(most, dtype=np.int32),
        np.ones(most, np.float16),
        word_bits(np.random.default_rng(0).integers(0, 1 << 32, 2_000_000)),
        np.ones((most, classes), np.int8 if quantized else np.float16),
        np.ones(classes, np.float32) if quantized else None,
        np.ones(classes, np.float32),
    )
    export(fitted, None, [f"label {number}" for number in range(classes)], tmp_path / "1")
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 40_000_000
