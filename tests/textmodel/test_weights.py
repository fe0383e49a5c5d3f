"""The weights' file: it holds what the checkpoint holds, and whatever is wrong with either is an error."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from tests.tiny_model import write_model
from textmodel import ModelError, VersionFolder, load_engine, weights
from textmodel.errors import UnsupportedError
from textmodel.explanation import Explainer
from textmodel.metadata import NGrams
from textmodel.weights import Weights

DATA = "variables/variables.data-00000-of-00001"
Tensors = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> VersionFolder:
    models = tmp_path_factory.mktemp("models")
    return write_model(
        models,
        "test",
        hidden=(5,),
        labels=("a", "b", "c"),
        vectorizer=lambda size: NGrams(size, 2, 64, "log", normalize=True),
    )


@pytest.fixture
def version(original: VersionFolder, tmp_path: Path) -> VersionFolder:
    """A version to damage."""
    return VersionFolder(Path(shutil.copytree(original.path, tmp_path / "1")))


def file_of(version: VersionFolder) -> Path:
    return version.assets_extra / weights.WEIGHTS_FILE


def rewritten(version: VersionFolder, change: Callable[[Tensors], object]) -> Weights:
    """The weights of the version once its tensors are changed."""
    tensors = load_file(file_of(version))
    change(tensors)
    weights.write(version.path, tensors)
    return version.weights


def test_they_are_the_variables_of_the_saved_model(original: VersionFolder) -> None:
    reader = tf.train.load_checkpoint(str(original.path / "variables" / "variables"))
    read = original.weights
    named = {"features/scale": read.scale}
    for number, layer in enumerate(read.layers):
        named |= {f"dense/{number}/kernel": layer.kernel, f"dense/{number}/bias": layer.bias}
    for name, tensor in named.items():
        np.testing.assert_array_equal(tensor, reader.get_tensor(f"{name}/.ATTRIBUTES/VARIABLE_VALUE"), strict=True)


def test_whoever_reads_the_saved_model_reads_them(original: VersionFolder) -> None:
    # Often another user serves than trains.
    written = original.assets_extra / weights.WEIGHTS_FILE
    assert written.stat().st_mode == (original.path / "saved_model.pb").stat().st_mode


def test_float16_is_read_as_float32(version: VersionFolder) -> None:
    def halve(tensors: Tensors) -> None:
        tensors["dense/0/kernel"] = tensors["dense/0/kernel"].astype(np.float16)

    kernel = rewritten(version, halve).layers[0].kernel
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, load_file(file_of(version))["dense/0/kernel"])


def test_an_int8_kernel_is_read_with_the_scale_of_its_units(version: VersionFolder) -> None:
    scale = np.arange(1, 6, dtype=np.float32)

    def quantize(tensors: Tensors) -> None:
        tensors["dense/0/kernel_scale"] = scale
        tensors["dense/0/kernel"] = np.full(tensors["dense/0/kernel"].shape, -3, np.int8)

    kernel = rewritten(version, quantize).layers[0].kernel
    np.testing.assert_array_equal(kernel, np.broadcast_to(-3 * scale, kernel.shape))


def test_features_without_a_row_are_zero(version: VersionFolder) -> None:
    features = version.metadata.vectorizer.features  # type: ignore[union-attr]
    kept = np.array([0, 7, 8, features - 1])

    def keep(tensors: Tensors) -> None:
        tensors[weights.KEPT] = weights.kept_bits(kept, features)
        for name in ("features/scale", "dense/0/kernel"):
            tensors[name] = tensors[name][kept]

    whole = VersionFolder(version.path).weights
    read = rewritten(version, keep)
    assert read.scale is not None
    assert whole.scale is not None
    for sparse, dense in ((read.scale, whole.scale), (read.layers[0].kernel, whole.layers[0].kernel)):
        np.testing.assert_array_equal(sparse[kept], dense[kept])
        assert not np.delete(sparse, kept, axis=0).any()


def test_a_version_without_the_file_is_served_by_tensorflow_and_not_explained(version: VersionFolder) -> None:
    file_of(version).unlink()
    reasons: list[ModelError] = []
    assert load_engine(version.path, on_fallback=reasons.append).name == "tensorflow"
    assert "weights.safetensors is missing or not copied yet: without it only" in str(reasons[0])
    with pytest.raises(UnsupportedError, match="is missing"):
        Explainer(version)


@pytest.mark.parametrize("name", [DATA, "variables/variables.index", "assets.extra/weights.safetensors"])
def test_a_file_four_bytes_short_is_refused(version: VersionFolder, name: str) -> None:
    contents = (version.path / name).read_bytes()
    (version.path / name).write_bytes(contents[:-4])
    for kind in ("auto", "compiled"):
        with pytest.raises(ModelError, match=Path(name).name):
            load_engine(version.path, kind)


@pytest.mark.parametrize("name", [DATA, "assets.extra/weights.safetensors"])
def test_a_flipped_bit_is_refused(version: VersionFolder, name: str) -> None:
    contents = bytearray((version.path / name).read_bytes())
    contents[-1] ^= 1
    (version.path / name).write_bytes(contents)
    with pytest.raises(ModelError, match=r"SHA-256|damaged"):
        load_engine(version.path)


def test_the_weights_of_another_version_are_refused(version: VersionFolder, tmp_path: Path) -> None:
    other = write_model(tmp_path, "other", vectorizer=lambda size: NGrams(size, 2, 64, "log", normalize=True), seed=1)
    shutil.copy(file_of(other), file_of(version))
    with pytest.raises(ModelError, match="not written together with"):
        load_engine(version.path)


def test_a_checkpoint_that_is_missing_is_refused(version: VersionFolder) -> None:
    shutil.rmtree(version.path / "variables")
    with pytest.raises(ModelError, match="variables: No such file"):
        _ = version.weights


@pytest.mark.parametrize("header", [{}, {"sha256": "0"}, None])
def test_a_header_without_the_digests_is_refused(version: VersionFolder, header: dict[str, str] | None) -> None:
    save_file(load_file(file_of(version)), file_of(version), header)
    with pytest.raises(ModelError, match="SHA-256"):
        _ = version.weights


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda tensors: tensors.pop("dense/1/bias"), "there is no tensor dense/1/bias"),
        (lambda tensors: tensors.pop("features/scale"), "there is no tensor features/scale"),
        (lambda tensors: tensors.update({"dense/1/bias": np.zeros(4, np.float32)}), r"shape \(4,\) instead of \(3,\)"),
        (lambda tensors: tensors.update({"dense/1/bias": np.zeros(3)}), "float64 instead of float32 or float16"),
        (
            lambda tensors: tensors.update({"dense/1/bias": np.array([0, np.inf, 0], np.float16)}),
            "not all of its numbers",
        ),
        (
            lambda tensors: tensors.update({"dense/1/bias": np.array([0, np.nan, 0], np.float32)}),
            "not all of its numbers",
        ),
        (lambda tensors: tensors.update({weights.KEPT: np.zeros(9, np.uint8)}), r"kept: shape \(9,\) instead of"),
        (lambda tensors: tensors.update({weights.KEPT: np.full(10, 255, np.uint8)}), "has bits beyond the 78"),
        (
            lambda tensors: tensors.update({weights.KEPT: np.zeros(10, np.uint8)}),
            r"shape \(78, 5\) instead of \(0, 5\)",
        ),
    ],
)
def test_other_tensors_than_the_metadata_say_are_refused(
    version: VersionFolder, change: Callable[[Tensors], object], says: str
) -> None:
    with pytest.raises(ModelError, match=says):
        rewritten(version, change)


def test_a_kernel_is_quantized_by_the_largest_weight_of_each_unit() -> None:
    kernel = np.array([[127, 0, -1], [-63.6, 0, 0.25]], np.float32)
    quantized, scale = weights.quantize(kernel)
    np.testing.assert_array_equal(quantized, np.array([[127, 0, -127], [-64, 0, 32]], np.int8), strict=True)
    np.testing.assert_array_equal(scale, np.array([1, 1, 1 / 127], np.float32), strict=True)


def test_a_kernel_without_rows_is_quantized() -> None:
    quantized, scale = weights.quantize(np.zeros((0, 2), np.float32))
    assert (quantized.shape, scale.tolist()) == ((0, 2), [1, 1])


@pytest.mark.parametrize(("features", "size"), [(0, 0), (1, 1), (8, 1), (9, 2)])
def test_a_kept_feature_is_a_bit_lowest_first(features: int, size: int) -> None:
    bits = weights.kept_bits(np.array([features - 1] if features else [], np.int64), features)
    assert bits.tolist() == [0] * (size - 1) + ([1 << (features - 1) % 8] if features else [])
