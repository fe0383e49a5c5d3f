"""A training run, from a data set to a version folder."""

import platform
import shlex
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from rich.console import Console

from textfiles import InputError
from textmodel import ModelError, load_engine, metadata, probes
from textmodel.metadata import Abstention, HashedNGrams, Metadata
from textmodel.version_folder import VersionFolder, new_version, served_version, version_path
from training import report, run_tables, warnings
from training.classifiers.classifier import Classifier
from training.classifiers.history import best_epoch
from training.classifiers.ngram import NGramClassifier
from training.classifiers.selection import MAX_UNITS, select
from training.data import file_dataset, keras_datasets, text_hashes
from training.data.keras_datasets import SplitDataset
from training.data.labelled_file import LabelledText, TrainingFiles
from training.data.quality import Quality
from training.data.targets import Copies
from training.evaluation.abstention import find_abstention, threshold_warnings
from training.evaluation.metrics import Evaluation, evaluate
from training.evaluation.promotion import Gate, decide, in_service, lost_thresholds
from training.evaluation.version_evaluation import LoadedVersion
from training.export import export
from training.golden_probes import make_probes
from training.resource_usage import Costs
from training.run import Classes, Run, Search
from training.settings import Settings
from training.trial_progress import trials_shown

_PACKAGES = ("keras", "numpy", "scikit-learn", "tensorflow")


def train(
    settings: Settings,
    name: str,
    source: TrainingFiles | Path | None,
    models: Path,
    console: Console,
    *,
    gate: Gate | None = None,
) -> Run:
    """Trains a model and writes it as the next version in `<models>/<name>/`.

    Args:
        settings: how the model is trained.
        name: the model's name.
        source: the user's own files, or the folder with Keras's files of the data set; None lets Keras download them.
        models: the folder of the models.
        console: where progress is shown.
        gate: keeps the new version out of service unless it is better than the version in service. None: it goes into
            service.

    Raises:
        InputError: the data, their settings or the models folder cannot be used.
        ModelError: the exported model does not give the network's probabilities.
        OSError: the version cannot be written.
    """
    tf.config.experimental.enable_op_determinism()
    incumbent = in_service(models / name) if gate else None
    if settings.target_precision is None:
        _check_thresholds(models / name, gate, incumbent, console)
    costs = Costs()
    with ExitStack() as stack:
        try:  # before the data are read, which may take minutes
            folder = stack.enter_context(new_version(models, name))
        except OSError as error:
            raise InputError(f"--models {models}: cannot write there: {error.strerror}: name another folder") from error
        with costs.of("reading the data"):
            data = _load(settings, source, console)
        fit = (_fit_ngram if settings.preset == "ngram" else _fit_dense)(data.settings, data.split, console, costs)
        with costs.of("exporting and probing"):
            _export(folder, name, fit, data)
        run = Run(
            folder,
            _command(settings, name, source),
            _classes(fit, data.split),
            fit.search,
            fit.evaluation,
            fit.uncalibrated,
            data.quality,
            costs.parts,
        )
        warnings.show(console, report.write(run))
        if gate:
            run = replace(run, decision=decide(incumbent, folder, data.test_rows(), gate))
            folder.is_candidate = not (run.decision and run.decision.promoted)
    return run


class _Data(NamedTuple):
    settings: Settings
    """The settings of the run, including the sizes that follow from the data."""
    split: SplitDataset
    quality: Quality | None
    """The findings about the user's own files; None for Keras's data sets."""
    test_rows: Callable[[], Iterable[LabelledText]]
    """Reads the test texts again, for a gate."""


def _load(settings: Settings, source: TrainingFiles | Path | None, console: Console) -> _Data:
    if isinstance(source, TrainingFiles):
        own = file_dataset.load(source, settings, console)
        settings = replace(settings, num_words=len(own.vocabulary), validation_samples=own.validation_texts)
        console.print(run_tables.findings(own.quality))
        data = _Data(settings, own, own.quality, partial(file_dataset.test_rows, source, own))
    else:
        split = keras_datasets.load(settings.data_set, source, settings.num_words)
        data = _Data(settings, split, None, partial(keras_datasets.test_rows, split.name, source))
    if settings.validation_samples >= len(data.split.training):
        raise InputError(
            f"--validation-samples {settings.validation_samples} leaves nothing of the {len(data.split.training)}"
            " training texts: ask for fewer"
        )
    return data


def _export(folder: VersionFolder, name: str, fit: "_Fit", data: _Data) -> None:
    """Writes the version's files except its report, and checks that it gives the network's probabilities."""
    classifier, split = fit.classifier, data.split
    vocabulary = None if isinstance(classifier.vectorizer, HashedNGrams) else split.vocabulary
    export(classifier, vocabulary, split.labels, folder.path, split.tokenization)
    folder.assets_extra.mkdir(exist_ok=True)
    if isinstance(split, file_dataset.FileDataset):
        text_hashes.write(folder.assets_extra / text_hashes.FILE, split.training_hashes.tolist())
    described = _describe(name, fit, split, data.quality)
    msgspec.structs.replace(described, sha256=folder.sha256()).write(folder.metadata_file)
    probes.write(folder.probes_file, make_probes(classifier, split.vocabulary, split.training))
    load_engine(folder.path, "tensorflow")


def _classes(fit: "_Fit", data: SplitDataset) -> Classes:
    count = len(data.labels)
    weights = fit.classifier.class_weights(data.training.learned(count))
    return Classes(data.labels, np.bincount(data.training.classes, minlength=count), weights)


class _Fit(NamedTuple):
    settings: Settings
    """The settings of the run, including those that the search chose."""
    classifier: Classifier
    search: Search
    held_out: int
    """Number of training texts that the search held out."""
    evaluation: Evaluation
    uncalibrated: Evaluation | None
    abstention: Abstention | None


def _fit_dense(settings: Settings, data: SplitDataset, console: Console, costs: Costs) -> _Fit:
    """Finds the epoch at which overfitting starts, fits a new network up to it, and evaluates it on the test set."""
    # Imported here, so that training on n-grams does not import Keras.
    from training.classifiers.dense import DenseClassifier, batch_size  # noqa: PLC0415
    from training.epoch_progress import epochs_shown  # noqa: PLC0415

    settings = replace(settings, batch_size=settings.batch_size or batch_size(len(data.training)))
    held_out, others = data.training.split(settings.validation_samples)
    classifier = DenseClassifier(settings, len(data.labels))
    searching = epochs_shown(console, "Searching the best epoch", settings.epochs)
    with costs.of("searching the best epoch"), searching as progress:
        history = classifier.fit(others, settings.epochs, progress, held_out)
    epochs = best_epoch(history)
    if epochs == settings.epochs:
        console.print(
            f"The last epoch is the best: more than --epochs {epochs} may give a better model", soft_wrap=True
        )

    classifier = DenseClassifier(settings, len(data.labels))
    fitting = epochs_shown(console, "Fitting a new network on all training texts", epochs)
    with costs.of("fitting on all training texts"), fitting as progress:
        classifier.fit(data.training, epochs, progress)
    abstention = None
    if settings.target_precision:
        # The first network was trained past the best epoch. This one takes as many steps as the exported network: the
        # probabilities grow with the steps, and as many epochs of fewer texts would give thresholds that are too low.
        as_many = round(epochs * len(data.training) / len(others))
        validated = DenseClassifier(settings, len(data.labels))
        fitting = epochs_shown(console, "Fitting a network on all but the validation texts", as_many)
        with costs.of("finding the thresholds"), fitting as progress:
            validated.fit(others, as_many, progress)
            found = validated.probabilities(held_out)
        copies = Copies.of(held_out.judged(len(data.labels)))
        abstention = find_abstention(found[copies.rows], copies.classes, settings.target_precision, copies.weights)
        _warn_of_thresholds(abstention, data.labels, found, console)
    with costs.of("evaluating on the test texts"):
        evaluation = evaluate(classifier.probabilities(data.test), data.test.classes)
    return _Fit(settings, classifier, history, len(held_out), evaluation, None, abstention)


def _fit_ngram(settings: Settings, data: SplitDataset, console: Console, costs: Costs) -> _Fit:
    """Chooses features and cost on held-out texts, fits on all training texts, and evaluates on the test set."""
    texts, labels = len(data.training), len(data.labels)
    if settings.target_precision and labels > 2 and texts * labels > MAX_UNITS:
        raise InputError(
            f"--target-precision: {labels:,} labels times {texts:,} training texts are more than {MAX_UNITS:,}: leave"
            " the option out, or train on fewer labels or texts"
        )
    with costs.of("choosing features and cost"), trials_shown(console) as tried:
        selection = select(settings, data.training, len(data.labels), tried)
    console.print(run_tables.trials(selection))
    abstention = None
    if settings.target_precision:
        abstention = find_abstention(
            selection.probabilities, selection.classes, settings.target_precision, selection.weights
        )
        _warn_of_thresholds(abstention, data.labels, selection.probabilities, console)
    classifier = NGramClassifier(selection.best.settings, len(data.labels))
    with costs.of("fitting on all training texts"), console.status("Fitting on all training texts"):
        classifier.fit(data.training)
    if not len(classifier.weighting.kept):
        weights = "; or give larger weights" if data.training.targets else ""
        min_df = selection.best.settings.required_min_df
        raise InputError(
            f"no feature occurs in {min_df} of the {len(data.training)} training texts: lower --min-df, or add"
            f" texts{weights}"
        )
    with costs.of("evaluating on the test texts"):
        uncalibrated = evaluate(classifier.probabilities(data.test), data.test.classes)
        classifier.calibrate(selection.calibration)
        evaluation = evaluate(classifier.probabilities(data.test), data.test.classes)
    return _Fit(
        selection.best.settings,
        classifier,
        selection,
        selection.held_out,
        evaluation,
        uncalibrated,
        abstention,
    )


def _warn_of_thresholds(
    abstention: Abstention, labels: Sequence[str], probabilities: NDArray[np.float32], console: Console
) -> None:
    answers = np.bincount(probabilities.argmax(axis=1), minlength=len(labels))
    warnings.show(console, threshold_warnings(abstention, labels, answers.tolist()))


def _check_thresholds(model: Path, gate: Gate | None, incumbent: LoadedVersion | None, console: Console) -> None:
    """Refuses to train a version without thresholds if the gate would refuse it. Without a gate, it only warns."""
    if gate:
        if incumbent and (reason := gate.refusal_without_thresholds(incumbent.folder)):
            raise InputError(reason)
        return
    try:
        number = served_version(model)
        lost = None if number is None else lost_thresholds(VersionFolder(version_path(model, number)))
    except ModelError:
        return  # what cannot be read is not in service
    if lost:
        warnings.show(console, [lost])


def _command(settings: Settings, name: str, source: TrainingFiles | Path | None) -> str:
    """Returns a command that trains the same model on any machine. It does not name the folder of the data."""
    words = ["text-classifier-train", *settings.command()]
    if name != settings.data_set:
        words += ["--name", name]
    if isinstance(source, TrainingFiles):
        words += source.arguments()
    elif source is not None:
        words += ["--data-dir", "DIR"]
    return shlex.join(words)


def _describe(name: str, fit: _Fit, data: SplitDataset, quality: Quality | None) -> Metadata:
    soft = quality.soft if quality else None
    return Metadata(
        name=name,
        vectorizer=fit.classifier.vectorizer,
        network=fit.classifier.layers,
        data_set=metadata.DataSet(
            data.name,
            training_texts=len(data.training),
            validation_texts=fit.held_out,
            test_texts=len(data.test),
            unknown_word_ratio=fit.classifier.unknown_word_ratio(data.training),
            validation_unknown_word_ratio=quality.unknown_in_validation if quality else None,
            label_texts=tuple(np.bincount(data.training.classes, minlength=len(data.labels)).tolist()),
            soft_texts=soft.soft if soft else 0,
            weight=soft.weight if soft else None,
        ),
        training=dict(fit.settings.options()),
        test_metrics=metadata.TestMetrics(
            fit.evaluation.accuracy, fit.evaluation.log_loss, fit.evaluation.expected_calibration_error
        ),
        created_at=datetime.now(UTC),
        packages={"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}},
        abstention=fit.abstention,
        tokenization=data.tokenization,
    )
