from dataclasses import replace
from io import StringIO
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from training.classifiers.dense import DenseClassifier, best_epoch
from training.classifiers.ngram import NGramClassifier
from training.data.keras_datasets import load
from training.evaluation.metrics import evaluate
from training.settings import PRESETS
from training.train import train

# Learns so fast that it overfits: the best epoch is neither the first nor the last.
SETTINGS = replace(
    PRESETS["imdb"]["dense"], num_words=30, validation_samples=20, batch_size=8, epochs=12, learning_rate=0.02
)


def test_the_model_is_a_new_network_fitted_on_all_training_texts_for_the_best_number_of_epochs(
    files: Path, tmp_path: Path
) -> None:
    result = train(SETTINGS, "mine", files, tmp_path / "models", Console(file=StringIO()))

    data = load("imdb", files, 30)
    held_out, others = data.training.split(20)
    history = DenseClassifier(SETTINGS, 2).fit(others, 12, keras.callbacks.Callback(), held_out)
    assert result.epochs == best_epoch(history)
    assert 1 < result.epochs < 12
    expected = DenseClassifier(SETTINGS, 2)
    expected.fit(data.training, result.epochs, keras.callbacks.Callback())
    reader = tf.train.load_checkpoint(str(result.folder.path / "variables" / "variables"))
    kernel = reader.get_tensor("dense/0/kernel/.ATTRIBUTES/VARIABLE_VALUE")
    np.testing.assert_array_equal(kernel, expected.network.get_weights()[0])

    assert result.uncalibrated is None
    test = evaluate(expected.probabilities(data.test.sequences), data.test.classes)
    metrics = result.folder.metadata.test_metrics
    assert metrics.accuracy == result.evaluation.accuracy == test.accuracy
    assert metrics.log_loss == pytest.approx(test.log_loss)
    sizes = result.folder.metadata.data_set
    assert (sizes.training_texts, sizes.validation_texts, sizes.test_texts) == (60, 20, 60)


def test_an_ngram_model_has_the_calibration_that_suits_the_first_network_on_the_validation_texts(
    files: Path, tmp_path: Path
) -> None:
    settings = replace(PRESETS["imdb"]["ngram"], num_words=30, buckets=64, min_count=1, validation_samples=20)
    result = train(settings, "mine", files, tmp_path / "models", Console(file=StringIO()))

    data = load("imdb", files, 30)
    held_out, others = data.training.split(20)
    searched, expected = (NGramClassifier(settings, 2) for _ in range(2))
    searched.fit(others, settings.epochs, keras.callbacks.Callback(), held_out)
    expected.fit(data.training, result.epochs, keras.callbacks.Callback())
    before = evaluate(expected.probabilities(data.test.sequences), data.test.classes)
    expected.calibrate(searched.calibration(held_out))
    after = evaluate(expected.probabilities(data.test.sequences), data.test.classes)
    assert result.uncalibrated is not None
    assert result.uncalibrated.log_loss == pytest.approx(before.log_loss)
    assert result.folder.metadata.test_metrics.log_loss == pytest.approx(after.log_loss)
    assert before.log_loss != pytest.approx(after.log_loss)
    reader = tf.train.load_checkpoint(str(result.folder.path / "variables" / "variables"))
    kernel = reader.get_tensor("dense/0/kernel/.ATTRIBUTES/VARIABLE_VALUE")
    np.testing.assert_array_equal(kernel, expected.dense_weights()[0])
