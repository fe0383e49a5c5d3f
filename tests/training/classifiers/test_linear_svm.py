import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.svm import LinearSVC

from textfiles import InputError
from training.classifiers import linear_svm


def _noisy(texts: int = 600, classes: int = 5, features: int = 40) -> tuple[csr_array, NDArray[np.int64]]:
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, texts)
    dense = random.random((texts, features)) < 0.1
    dense[np.arange(texts), labels] = random.random(texts) < 0.7
    norms = np.sqrt(np.maximum(dense.sum(axis=1, keepdims=True), 1))
    return csr_array((dense / norms).astype(np.float32)), labels


VECTORS, CLASSES = _noisy()


def _answers(model: linear_svm.LinearModel, vectors: csr_array = VECTORS) -> NDArray[np.int64]:
    answers: NDArray[np.int64] = (vectors @ model.kernel + model.bias).argmax(axis=1)
    return answers


def test_the_answers_are_those_of_scikit_learn() -> None:
    expected = LinearSVC(C=0.3).fit(VECTORS, CLASSES).predict(VECTORS)
    assert (_answers(linear_svm.fit(VECTORS, CLASSES, np.arange(5), cost=0.3)) == expected).mean() > 0.99


def test_the_same_seed_gives_the_same_weights_to_the_bit() -> None:
    first, second = (linear_svm.fit(VECTORS, CLASSES, np.arange(5), cost=1, seed=3) for _ in range(2))
    assert first.kernel.tobytes() == second.kernel.tobytes()
    assert first.bias.tobytes() == second.bias.tobytes()


def test_classes_that_are_fitted_a_few_at_a_time_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = linear_svm.fit(VECTORS, CLASSES, np.arange(5), cost=0.3)
    monkeypatch.setattr(linear_svm, "_MAX_COEFFICIENTS", 1)
    found = linear_svm.fit(VECTORS, CLASSES, np.arange(5), cost=0.3)
    np.testing.assert_allclose(found.kernel, expected.kernel, atol=0.02)
    np.testing.assert_allclose(found.bias, expected.bias, atol=0.02)


def test_more_features_than_liblinear_takes_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_svm, "MAX_COMPONENTS", VECTORS.nnz)
    linear_svm.fit(VECTORS, CLASSES, np.arange(5), cost=0.3)
    monkeypatch.setattr(linear_svm, "MAX_COMPONENTS", VECTORS.nnz - 1)
    with pytest.raises(InputError, match=r"^600 texts to train on have [\d,]+ features together, but LIBLINEAR takes"):
        linear_svm.fit(VECTORS, CLASSES, np.arange(5), cost=0.3)


def test_a_few_of_the_classes_are_fitted_against_all_others() -> None:
    expected = linear_svm.fit(VECTORS, CLASSES, np.arange(5), cost=0.3)
    found = linear_svm.fit(VECTORS, CLASSES, np.array([1, 4]), cost=0.3)
    np.testing.assert_allclose(found.kernel, expected.kernel[:, [1, 4]], atol=0.02)


def test_one_unit_for_the_second_of_two_classes_has_its_logits() -> None:
    binary = (CLASSES > 1).astype(np.int64)
    model = linear_svm.fit(VECTORS, binary, np.array([1]), cost=1)
    assert model.kernel.shape == (40, 1)
    assert (((VECTORS @ model.kernel + model.bias)[:, 0] > 0) == binary).mean() > 0.7


def test_a_class_without_texts_is_never_the_answer() -> None:
    model = linear_svm.fit(VECTORS, np.where(CLASSES == 2, 3, CLASSES), np.arange(7), cost=1)
    assert not {2, 5, 6} & set(_answers(model).tolist())
    assert np.isfinite(model.kernel).all()


def test_a_single_class_is_always_the_answer() -> None:
    assert set(_answers(linear_svm.fit(VECTORS, np.full(600, 3), np.arange(5), cost=1)).tolist()) == {3}


def test_texts_without_features_have_the_most_frequent_class() -> None:
    nothing, classes = csr_array((10, 0), dtype=np.float32), np.array([0, 1, 1, 1, 1, 1, 1, 2, 2, 0])
    model = linear_svm.fit(nothing, classes, np.arange(3), cost=1)
    assert model.kernel.shape == (0, 3)
    assert model.bias.argmax() == 1


def test_texts_that_count_more_are_learned_better() -> None:
    rare = (CLASSES == 0).astype(np.int64)
    shares = []
    for weight in (1.0, 20.0):
        model = linear_svm.fit(
            VECTORS, rare, np.array([1]), cost=0.1, weights=np.where(rare == 1, weight, 1).astype(np.float64)
        )
        shares.append(((VECTORS @ model.kernel + model.bias)[rare == 1, 0] > 0).mean())
    assert shares[0] < shares[1]


def test_many_classes_of_few_texts_are_fitted_without_a_warning() -> None:
    classes = np.arange(60) % 40
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        linear_svm.fit(csr_array(np.eye(60)), classes, np.arange(40), cost=1.0)
