import pickle
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.training import made_up
from textfiles import InputError
from textmodel.vocabulary import FIRST_WORD, START, UNKNOWN
from training.data.keras_datasets import LABELS, SplitDataset, load


def _let_keras_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives Keras, which takes only the files that it downloads itself, others in place of its download."""

    def get_file(path: str | None = None, fname: str = "", **_: str) -> str:
        return str(folder / (path or fname))

    for name in LABELS:
        monkeypatch.setattr(getattr(keras.src.datasets, name), "get_file", get_file)


def _assert_equal(one: SplitDataset, other: SplitDataset) -> None:
    assert one.vocabulary.entries == other.vocabulary.entries
    for mine, keras_ in ((one.training, other.training), (one.test, other.test)):
        np.testing.assert_array_equal(mine.classes, keras_.classes)
        assert len(mine) == len(keras_)
        for a, b in zip(mine.sequences, keras_.sequences, strict=True):
            assert a.dtype == b.dtype == np.int32
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("num_words", [5, 20, 44])
def test_files_give_what_keras_gives(name: str, num_words: int, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _let_keras_read(files, monkeypatch)
    _assert_equal(load(name, files, num_words), load(name, None, num_words))


@pytest.mark.parametrize("name", LABELS)
def test_the_real_files_give_what_keras_gives(name: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _let_keras_read(data_dir, monkeypatch)
    _assert_equal(load(name, data_dir, 10_000), load(name, None, 10_000))


def test_the_first_review_is_the_one_that_keras_documents(data_dir: Path) -> None:
    data = load("imdb", data_dir, 10_000)
    assert data.training.sequences[0][:7].tolist() == [1, 14, 22, 16, 43, 530, 973]
    assert data.training.classes[0] == 1
    assert (len(data.training), len(data.test)) == (25_000, 25_000)


def test_reuters_is_split_as_keras_documents(data_dir: Path) -> None:
    data = load("reuters", data_dir, 10_000)
    assert (len(data.training), len(data.test)) == (8_982, 2_246)


def test_the_labels_are_keras_s() -> None:
    assert LABELS["reuters"] == keras.datasets.reuters.get_label_names()


def test_words_from_num_words_on_are_unknown_and_the_others_keep_their_index(files: Path) -> None:
    data = load("imdb", files, 10)
    assert {int(index) for text in data.training.sequences for index in text} == {
        START,
        UNKNOWN,
        *range(FIRST_WORD, 10),
    }
    assert len(data.vocabulary) == 10


def test_every_text_starts_with_the_start_index_even_an_empty_one(files: Path) -> None:
    data = load("imdb", files, 20)
    assert all(text[0] == START for text in data.training.sequences)
    assert any(len(text) == 1 for text in data.training.sequences)


class _Trap:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def test_a_file_cannot_run_code(files: Path, tmp_path: Path) -> None:
    x = np.empty(1, object)
    x[0] = _Trap(tmp_path / "trapped")
    np.savez(files / "reuters.npz", x=x, y=np.zeros(1, np.int64))
    with pytest.raises(InputError, match="has no place in a data set"):
        load("reuters", files, 20)
    assert not (tmp_path / "trapped").exists()


def test_a_file_of_a_numpy_before_2_is_read(files: Path) -> None:
    expected = load("reuters", files, 20)
    with zipfile.ZipFile(files / "reuters.npz") as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    header = content["x.npy"][: content["x.npy"].index(b"\n") + 1]
    x = pickle.dumps(made_up.arrays("reuters")["x"], protocol=3).replace(b"numpy._core", b"numpy.core")
    assert b"numpy.core" in x
    with zipfile.ZipFile(files / "reuters.npz", "w") as archive:
        archive.writestr("x.npy", header + x)
        archive.writestr("y.npy", content["y.npy"])
    _assert_equal(load("reuters", files, 20), expected)


def test_a_failed_download_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Exception("URL fetch failure: no route")

    monkeypatch.setattr(keras.src.datasets.imdb, "get_file", fail)
    with pytest.raises(InputError, match=r"no route.*--data-dir"):
        load("imdb", None, 20)
