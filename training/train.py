"""The method, from a data set to a version folder."""

import platform
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import tensorflow as tf
from rich.console import Console

from textmodel import load_engine, metadata, probes
from textmodel.metadata import Metadata
from textmodel.version_folder import VersionFolder, new_version
from training import datasets, report
from training.classifier import Classifier, DenseClassifier, best_epoch
from training.costs import Cost, Costs
from training.datasets import DataSet
from training.errors import InputError
from training.evaluation import Evaluation, evaluate
from training.export import export
from training.ngram_classifier import NGramClassifier
from training.probing import make_probes
from training.progress import epochs_shown
from training.settings import Settings

_PACKAGES = ("keras", "numpy", "scikit-learn", "tensorflow")


@dataclass(frozen=True)
class Result:
    """What a run made."""

    folder: VersionFolder
    epochs: int
    """How many epochs the network was fitted for."""
    evaluation: Evaluation
    """On the test set."""
    uncalibrated: Evaluation | None
    """The same before calibration, for a preset that is calibrated."""
    costs: Sequence[Cost]
    """What the parts of the run cost, in order."""


def train(settings: Settings, name: str, data_dir: Path | None, models: Path, console: Console) -> Result:
    """Trains a model and writes it as the next version in `<models>/<name>/`.

    Args:
        settings: how it is trained.
        name: the model's name.
        data_dir: the folder with Keras's files of the data set; None lets Keras download them.
        models: the folder of the models.
        console: where progress is shown.

    Raises:
        InputError: the data, the settings for them, or the models folder cannot be used.
        ModelError: the exported model does not answer as the network does.
        OSError: the version cannot be written.
    """
    tf.config.experimental.enable_op_determinism()
    costs = Costs()
    with costs.of("reading the data"):
        data = datasets.load(settings.data_set, data_dir, settings.num_words)
    held_out, others = data.training.split(settings.validation_samples)
    if len(others) == 0:
        raise InputError(
            f"--validation-samples {settings.validation_samples} leaves nothing of the {len(data.training)} training"
            " texts: ask for fewer"
        )

    with ExitStack() as stack:
        try:
            folder = stack.enter_context(new_version(models, name))
        except OSError as error:
            raise InputError(f"--models {models}: cannot write there: {error.strerror}: name another folder") from error

        classifier = _classifier(settings, len(data.labels))
        searching = epochs_shown(console, "Searching the best epoch", settings.epochs)
        with costs.of("searching the best epoch"), searching as progress:
            history = classifier.fit(others, settings.epochs, progress, held_out)
        epochs = best_epoch(history)
        calibration = classifier.calibration(held_out) if isinstance(classifier, NGramClassifier) else None

        classifier = _classifier(settings, len(data.labels))
        fitting = epochs_shown(console, "Fitting a new network on all training texts", epochs)
        with costs.of("fitting on all training texts"), fitting as progress:
            classifier.fit(data.training, epochs, progress)
        uncalibrated = None
        with costs.of("evaluating on the test texts"):
            evaluation = evaluate(classifier.probabilities(data.test.sequences), data.test.classes)
            if calibration and isinstance(classifier, NGramClassifier):
                uncalibrated = evaluation
                classifier.calibrate(calibration)
                evaluation = evaluate(classifier.probabilities(data.test.sequences), data.test.classes)

        with costs.of("exporting and probing"):
            export(classifier, data.vocabulary, data.labels, folder.path)
            folder.assets_extra.mkdir()
            _describe(name, settings, data, classifier, evaluation).write(folder.metadata_file)
            probes.write(folder.probes_file, make_probes(classifier, data.vocabulary, data.training))
            # What was exported has to answer as the network, or it is not published.
            load_engine(folder.path, "tensorflow")
        command = _command(settings, name, data_dir)
        report.write(folder, data.labels, history, evaluation, command, uncalibrated=uncalibrated, costs=costs.parts)
    return Result(folder, epochs, evaluation, uncalibrated, costs.parts)


def _classifier(settings: Settings, classes: int) -> Classifier:
    return (NGramClassifier if settings.preset == "ngram" else DenseClassifier)(settings, classes)


def _command(settings: Settings, name: str, data_dir: Path | None) -> str:
    """Returns a command that makes the same model on any machine: where the data are is left to its user."""
    words = ["text-classifier-train", *settings.command()]
    if name != settings.data_set:
        words += ["--name", name]
    if data_dir is not None:
        words += ["--data-dir", "DIR"]
    return " ".join(words)


def _describe(name: str, settings: Settings, data: DataSet, classifier: Classifier, evaluation: Evaluation) -> Metadata:
    return Metadata(
        name=name,
        vectorizer=classifier.vectorizer,
        network=classifier.layers,
        data_set=metadata.DataSet(
            data.name,
            training_texts=len(data.training),
            validation_texts=settings.validation_samples,
            test_texts=len(data.test),
        ),
        training=dict(settings.options()),
        test_metrics=metadata.TestMetrics(
            evaluation.accuracy, evaluation.log_loss, evaluation.expected_calibration_error
        ),
        created_at=datetime.now(UTC),
        packages={"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}},
    )
