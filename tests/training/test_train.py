import json
from collections.abc import Iterable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from textfiles import InputError
from training.classifiers.dense import DenseClassifier
from training.classifiers.history import best_epoch
from training.classifiers.ngram import NGramClassifier
from training.classifiers.selection import select
from training.data.keras_datasets import load
from training.data.labelled_file import LabelledFile, LabelledFiles, TrainingFiles
from training.evaluation.metrics import evaluate
from training.settings import OWN_DATA, PRESETS, Preset
from training.train import train

# Learns so fast that it overfits: the best epoch is neither the first nor the last.
SETTINGS = replace(
    PRESETS["imdb"]["dense"], num_words=30, validation_samples=20, batch_size=8, epochs=12, learning_rate=0.02
)


def test_the_model_is_a_new_network_fitted_on_all_texts_for_the_best_epochs(files: Path, tmp_path: Path) -> None:
    result = train(SETTINGS, "mine", files, tmp_path / "models", Console(file=StringIO()))

    data = load("imdb", files, 30)
    held_out, others = data.training.split(20)
    history = DenseClassifier(SETTINGS, 2).fit(others, 12, keras.callbacks.Callback(), held_out)
    epochs = best_epoch(history)
    assert result.search == history
    assert 1 < epochs < 12
    expected = DenseClassifier(SETTINGS, 2)
    expected.fit(data.training, epochs, keras.callbacks.Callback())
    reader = tf.train.load_checkpoint(str(result.folder.path / "variables" / "variables"))
    kernel = reader.get_tensor("dense/0/kernel/.ATTRIBUTES/VARIABLE_VALUE")
    np.testing.assert_array_equal(kernel, expected.network.get_weights()[0])

    assert result.uncalibrated is None
    test = evaluate(expected.probabilities(data.test), data.test.classes)
    metrics = result.folder.metadata.test_metrics
    assert metrics.accuracy == result.evaluation.accuracy == test.accuracy
    assert metrics.log_loss == pytest.approx(test.log_loss)
    sizes = result.folder.metadata.data_set
    assert (sizes.training_texts, sizes.validation_texts, sizes.test_texts) == (60, 20, 60)
    tied = ["assets/labels.txt", "assets/vocabulary.txt", "saved_model.pb", "variables/variables.index"]
    assert list(result.folder.metadata.sha256) == tied
    assert result.folder.metadata.sha256 == result.folder.sha256()


def test_an_ngram_model_has_features_cost_and_calibration_of_held_out_texts(files: Path, tmp_path: Path) -> None:
    settings = replace(PRESETS["imdb"]["ngram"], num_words=30, buckets=64, min_df=1, validation_samples=20)
    console = Console(file=StringIO())
    result = train(settings, "mine", files, tmp_path / "models", console)

    data = load("imdb", files, 30)
    selection = select(settings, data.training, 2)
    expected = NGramClassifier(selection.best.settings, 2)
    expected.fit(data.training)
    before = evaluate(expected.probabilities(data.test), data.test.classes)
    expected.calibrate(selection.calibration)
    after = evaluate(expected.probabilities(data.test), data.test.classes)
    assert result.uncalibrated is not None
    assert result.uncalibrated.log_loss == pytest.approx(before.log_loss)
    assert result.folder.metadata.test_metrics.log_loss == pytest.approx(after.log_loss)
    assert before.log_loss != pytest.approx(after.log_loss)
    reader = tf.train.load_checkpoint(str(result.folder.path / "variables" / "variables"))
    kernel = reader.get_tensor("dense/0/kernel/.ATTRIBUTES/VARIABLE_VALUE")
    np.testing.assert_array_equal(kernel, expected.dense_weights()[0])
    assert result.folder.metadata.training["cost"] == selection.best.settings.cost


def _write_rows(path: Path, rows: Iterable[tuple[str, str]]) -> TrainingFiles:
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    return TrainingFiles(LabelledFiles([LabelledFile(path)]), 0.2)


def test_a_dense_network_of_few_texts_learns_them(tmp_path: Path) -> None:
    topics = ["billing invoice", "parcel delivery", "screen broken"]
    rows = [(f"{topics[n % 3].split()[n % 2]} number {n}", topics[n % 3]) for n in range(450)]
    settings = replace(PRESETS[OWN_DATA]["dense"], epochs=25)
    result = train(settings, "mine", _write_rows(tmp_path / "a.jsonl", rows), tmp_path, Console(file=StringIO()))
    assert result.evaluation.accuracy > 0.97
    assert result.folder.metadata.training["batch-size"] == 16


def test_a_search_that_is_best_at_its_end_says_so(files: Path, tmp_path: Path) -> None:
    said = StringIO()
    train(replace(SETTINGS, epochs=1), "mine", files, tmp_path / "models", Console(file=said, width=200))
    assert "The last epoch is the best: more than --epochs 1 may give a better model" in said.getvalue()


def test_no_feature_in_as_many_texts_as_asked_is_one_line(tmp_path: Path) -> None:
    rows = [(f"{n}{n}{n} text", "ab"[n % 2]) for n in range(12)]
    settings = replace(PRESETS[OWN_DATA]["ngram"], min_df=100)
    with pytest.raises(InputError, match="no feature occurs in 100 of the"):
        train(settings, "mine", _write_rows(tmp_path / "a.jsonl", rows), tmp_path, Console(file=StringIO()))
    assert not (tmp_path / "mine" / "1").exists()


@pytest.mark.parametrize("preset", ["dense", "ngram"])
def test_six_japanese_rows_give_a_model(preset: Preset, tmp_path: Path) -> None:
    texts = [
        "とても良い映画でした",
        "最高に面白い",
        "また見たい作品です",
        "退屈でつまらない",
        "がっかりした",
        "時間の無駄だった",
    ]
    files = _write_rows(tmp_path / "a.jsonl", [(text, "pn"[n // 3]) for n, text in enumerate(texts)])
    settings = replace(PRESETS[OWN_DATA][preset], epochs=2)
    result = train(settings, "mine", files, tmp_path, Console(file=StringIO()))
    assert np.isfinite(result.evaluation.log_loss)
