"""The method, from a data set to a version folder."""

import platform
import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from rich.console import Console

from textfiles import InputError
from textmodel import load_engine, metadata, probes
from textmodel.metadata import Metadata
from textmodel.version_folder import VersionFolder, new_version
from training import report
from training.classifiers.dense import Classifier, DenseClassifier, History, best_epoch
from training.classifiers.ngram import NGramClassifier
from training.data import file_dataset, keras_datasets, text_hashes
from training.data.keras_datasets import SplitDataset
from training.data.labelled_file import TrainingFiles
from training.evaluation.metrics import Evaluation, evaluate
from training.evaluation.promotion import Decision, Gate, decide, in_service
from training.export import export
from training.golden_probes import make_probes
from training.progress import epochs_shown
from training.resource_usage import Cost, Costs
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
    classes: report.Classes
    """What each class had to learn from."""
    decision: Decision | None
    """Whether the version goes into service, where that was asked."""


def train(
    settings: Settings,
    name: str,
    source: TrainingFiles | Path | None,
    models: Path,
    console: Console,
    *,
    gate: Gate | None = None,
) -> Result:
    """Trains a model and writes it as the next version in `<models>/<name>/`.

    Args:
        settings: how it is trained.
        name: the model's name.
        source: the user's own files, or the folder with Keras's files of the data set; None lets Keras download them.
        models: the folder of the models.
        console: where progress is shown.
        gate: keeps the version out of service unless it is better than the one in service. None: it is served.

    Raises:
        InputError: the data, the settings for them, or the models folder cannot be used.
        ModelError: the exported model does not answer as the network does.
        OSError: the version cannot be written.
    """
    tf.config.experimental.enable_op_determinism()
    incumbent = in_service(models / name) if gate else None
    command = _command(settings, name, source)
    costs = Costs()
    with costs.of("reading the data"):
        if isinstance(source, TrainingFiles):
            own = file_dataset.load(source, settings, console)
            settings = replace(settings, num_words=len(own.vocabulary), validation_samples=own.validation_texts)
            console.print(report.findings(own.quality))
            data: SplitDataset = own
            quality: file_dataset.Quality | None = own.quality
            test_rows = partial(file_dataset.test_rows, source, own)
        else:
            data, quality = keras_datasets.load(settings.data_set, source, settings.num_words), None
            test_rows = partial(keras_datasets.test_rows, data.name, source)
    if settings.validation_samples >= len(data.training):
        raise InputError(
            f"--validation-samples {settings.validation_samples} leaves nothing of the {len(data.training)} training"
            " texts: ask for fewer"
        )

    with ExitStack() as stack:
        try:
            folder = stack.enter_context(new_version(models, name))
        except OSError as error:
            raise InputError(f"--models {models}: cannot write there: {error.strerror}: name another folder") from error

        classifier, history, evaluation, uncalibrated = _fit(settings, data, console, costs)
        with costs.of("exporting and probing"):
            export(classifier, data.vocabulary, data.labels, folder.path)
            folder.assets_extra.mkdir(exist_ok=True)
            if isinstance(data, file_dataset.FileDataset):
                text_hashes.write(folder.assets_extra / text_hashes.FILE, data.training_hashes.tolist())
            _describe(name, settings, data, classifier, evaluation).write(folder.metadata_file)
            probes.write(folder.probes_file, make_probes(classifier, data.vocabulary, data.training))
            # What was exported has to answer as the network, or it is not published.
            load_engine(folder.path, "tensorflow")
        classes = report.Classes(
            data.labels,
            np.bincount(data.training.classes, minlength=len(data.labels)),
            classifier.class_weights(data.training.classes),
        )
        report.write(
            folder,
            classes,
            history,
            evaluation,
            command,
            quality=quality,
            uncalibrated=uncalibrated,
            costs=costs.parts,
        )
        decision = None
        if gate:
            decision = decide(incumbent, folder, test_rows(), gate)
            folder.is_candidate = not decision.promoted
    return Result(folder, best_epoch(history), evaluation, uncalibrated, costs.parts, classes, decision)


class _Fit(NamedTuple):
    classifier: Classifier
    history: History
    """Of the fit with validation."""
    evaluation: Evaluation
    uncalibrated: Evaluation | None


def _fit(settings: Settings, data: SplitDataset, console: Console, costs: Costs) -> _Fit:
    """Finds the epoch where overfitting starts, fits a new network for so many, and evaluates it on the test set."""
    held_out, others = data.training.split(settings.validation_samples)
    classifier = new_classifier(settings, len(data.labels))
    searching = epochs_shown(console, "Searching the best epoch", settings.epochs)
    with costs.of("searching the best epoch"), searching as progress:
        history = classifier.fit(others, settings.epochs, progress, held_out)
    epochs = best_epoch(history)
    calibration = classifier.calibration(held_out) if isinstance(classifier, NGramClassifier) else None

    classifier = new_classifier(settings, len(data.labels))
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
    return _Fit(classifier, history, evaluation, uncalibrated)


def new_classifier(settings: Settings, classes: int) -> Classifier:
    """Makes the classifier of the settings' preset."""
    return (NGramClassifier if settings.preset == "ngram" else DenseClassifier)(settings, classes)


def _command(settings: Settings, name: str, source: TrainingFiles | Path | None) -> str:
    """Returns a command that makes the same model on any machine: where the data are is left to its user."""
    words = ["text-classifier-train", *settings.command()]
    if name != settings.data_set:
        words += ["--name", name]
    if isinstance(source, TrainingFiles):
        words += source.arguments()
    elif source is not None:
        words += ["--data-dir", "DIR"]
    return shlex.join(words)


def _describe(
    name: str, settings: Settings, data: SplitDataset, classifier: Classifier, evaluation: Evaluation
) -> Metadata:
    return Metadata(
        name=name,
        vectorizer=classifier.vectorizer,
        network=classifier.layers,
        data_set=metadata.DataSet(
            data.name,
            training_texts=len(data.training),
            validation_texts=settings.validation_samples,
            test_texts=len(data.test),
            unknown_word_ratio=data.training.unknown_word_ratio,
        ),
        training=dict(settings.options()),
        test_metrics=metadata.TestMetrics(
            evaluation.accuracy, evaluation.log_loss, evaluation.expected_calibration_error
        ),
        created_at=datetime.now(UTC),
        packages={"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}},
    )
