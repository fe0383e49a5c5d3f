"""Chooses the features and the cost of the `ngram` preset by accuracy on held-out texts.

Up to `_FEW_TEXTS` training texts are cross-validated. If there are more, the validation texts are held out. If the
settings leave several choices of features open, these are compared on a sample. Then the cost is adjusted and the
calibration fitted on all texts.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from training.classifiers import features, linear_svm, temperature_scaling
from training.classifiers.classifier import class_weights
from training.classifiers.temperature_scaling import Calibration
from training.data.keras_datasets import Examples
from training.data.splitting import fold_of_texts
from training.data.targets import Copies
from training.data.text_hashes import canonical
from training.settings import OWN_DATA, PRESETS, Settings

_FEW_TEXTS = 20_000
_FOLDS = 3
_SAMPLE_TEXTS = 20_000
_SAMPLE_CHARACTERS = 4_000_000
_SAMPLE_LEAST_TEXTS = 1000
"""Where fewer texts would have so many characters, the sample has the beginnings of so many texts: which features are
better shows on many short texts rather than on few long ones."""
_SAMPLE_CLASSES = 50
_SAMPLE_UNITS = 400_000
"""Maximum number of texts times classes in the trials of choices."""
MAX_UNITS = 5_000_000
"""Maximum number of texts times classes in the adjustment of the cost. If there are more, a sample of the classes is
fitted."""
_COSTS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_FIRST_COST = 0.3
_TOLERANCE = 0.1
"""Stopping tolerance of the trials' fits, LIBLINEAR's default: the same accuracy with a third fewer passes."""
_HOPELESS = 0.02
"""If the first cost of a choice is this much less accurate than the best trial, its other costs are not tried."""

_FEW_CHARACTERS = 100_000
"""Characters of the texts, in all, up to which features of a single text are tried too: with more, these trials take a
third of the time of a run, and gain nothing."""
_SINGLES = 2
"""Number of choices, the best ones, that features of a single text are tried with."""
_WORTH = 0.005
"""Features of a single text, which are most of the features, and weights without the divergence have to make the model
this much more accurate."""

_LONG = 2_000
"""From so many characters on average, most texts contain the frequent features, so that their presence does not tell
the classes apart, but their counts may: then weights without the divergence are tried too."""

_CHOICES: Sequence[Mapping[str, Any]] = (
    {"features": "both", "max_ngram": 2, "char_ngrams": (1, 5), "char_spans": "across-words"},
    {"features": "both", "max_ngram": 2, "char_ngrams": (2, 5), "char_spans": "within-words"},
    {"features": "words", "max_ngram": 2},
    {"features": "words", "max_ngram": 1},
    {"features": "characters", "char_ngrams": (1, 5), "char_spans": "across-words"},
    {"features": "characters", "char_ngrams": (2, 5), "char_spans": "within-words"},
)
"""The choices that the settings may leave open. The first of equally accurate choices wins."""


class Trial(NamedTuple):
    """A trial of features and a cost."""

    settings: Settings
    """The settings with these features and this cost."""
    accuracy: float
    """The accuracy on the held-out texts."""
    texts: int
    """Number of texts in the trial, including those held out."""
    seconds: float


@dataclass(frozen=True)
class Selection:
    """The trials and the choice."""

    trials: Sequence[Trial]
    best: Trial
    calibration: Calibration
    """The calibration fitted on the held-out texts."""
    held_out: int
    """Number of held-out training texts: all of them in cross-validation."""
    folds: int
    """Number of folds of the cross-validation; 1 without it."""
    probabilities: NDArray[np.float32]
    """(texts, units), the calibrated probabilities of the held-out texts. Each row sums to 1, even if the units are a
    sample of the classes."""
    classes: NDArray[np.int64]
    """(texts,), the unit of the true class of each held-out text."""
    weights: NDArray[np.float64]
    """(texts,), the weight of each held-out text. A text with a soft label occurs once for each of its classes."""
    sample: int | None
    """Number of classes in the trials if they are a sample, which makes the accuracy an estimate. None: all classes."""
    by_soft_labels: bool
    """Whether some texts are judged by soft labels, which makes the accuracy an expected accuracy."""

    @property
    def metric(self) -> str:
        """The name of the trials' accuracy."""
        return "expected accuracy by soft labels" if self.by_soft_labels else "accuracy"


class _Fold(NamedTuple):
    """The positions of the texts to fit on and of those that are held out."""

    learn: NDArray[np.int64]
    held_out: NDArray[np.int64]


class _Part(NamedTuple):
    """The data of a fold, to fit on and held out: a vector, a class and a weight for each copy of a text."""

    learned: csr_array
    learned_classes: NDArray[np.int64]
    learned_weights: NDArray[np.float64]
    held_out: csr_array
    held_out_classes: NDArray[np.int64]
    """The unit of each copy's class."""
    held_out_weights: NDArray[np.float64]


class _Outcome(NamedTuple):
    """A trial, with what calibration needs of its held-out texts."""

    trial: Trial
    logits: NDArray[np.float32]
    """(texts, units), the logits of the held-out texts."""
    classes: NDArray[np.int64]
    """(texts,), the unit of the true class of each held-out text."""
    weights: NDArray[np.float64]
    """(texts,), the weight of each held-out text."""


def candidates(settings: Settings) -> list[Settings]:
    """Returns the choices of features that these settings leave open."""
    if settings.data_set != OWN_DATA:
        return [settings]
    names = ("features", "max_ngram", "char_ngrams", "char_spans")
    fixed = {name: getattr(settings, name) for name in names if getattr(settings, name) not in (None, "auto")}
    kinds = {"features", "char_spans"} & set(fixed)
    fitting = [choice for choice in _CHOICES if all(choice.get(kind, fixed[kind]) == fixed[kind] for kind in kinds)]
    begin = replace(settings, min_df=settings.required_min_df)
    return list(dict.fromkeys(_normalized(replace(begin, **{**choice, **fixed})) for choice in fitting))


def _normalized(settings: Settings) -> Settings:
    """Returns the settings with None for those that have no effect, and with defaults for missing ones."""
    if settings.features == "words":
        return replace(settings, max_ngram=settings.max_ngram or 2, char_ngrams=None, char_spans=None)
    spans = settings.char_spans or "across-words"
    lengths = settings.char_ngrams or ((1, 5) if spans == "across-words" else (2, 5))
    words = None if settings.features == "characters" else settings.max_ngram or 2
    return replace(settings, max_ngram=words, char_ngrams=lengths, char_spans=spans)


def select(
    settings: Settings, examples: Examples, classes: int, tried: Callable[[Trial], object] = lambda _: None
) -> Selection:
    """Tries the choices that the settings leave open, and selects the most accurate one.

    Args:
        settings: if there are more than `_FEW_TEXTS` examples, the first `validation_samples` are held out.
        examples: the training texts.
        classes: number of classes.
        tried: called after each trial.
    """
    random = np.random.default_rng(settings.seed)
    everything = _whole_problem(settings, examples, classes, random)
    choices = candidates(settings)
    sample = _sample(everything, random) if len(choices) > 1 else everything
    search = _Search(tried)
    search.compare(choices, sample)
    if settings.min_df is None and sample.same(everything) and sample.characters() <= _FEW_CHARACTERS:
        search.attempt_singles(settings.cost, sample)
    if sample is not everything and not sample.same(everything):
        found = search.best().trial.settings
        search.attempt(replace(found, cost=settings.cost), everything, found.required_cost)
    if settings.divergence_power == PRESETS[OWN_DATA]["ngram"].divergence_power and everything.are_long():
        found = search.best().trial.settings
        search.attempt(replace(found, cost=settings.cost, divergence_power=0.0), everything, found.required_cost)
    return _selection(search, everything)


def _whole_problem(settings: Settings, examples: Examples, classes: int, random: np.random.Generator) -> "_Problem":
    """Returns the problem of all texts: cross-validation if they are few, otherwise one held-out part."""
    if len(examples) <= _FEW_TEXTS:
        folds = list(_cross_validation(examples, random))
    else:
        held_out, learned = np.split(np.arange(len(examples)), [settings.validation_samples])
        folds = [_Fold(learned, held_out)]
    wanted = _some_classes(classes, MAX_UNITS // len(examples), random)
    return _Problem(examples, np.arange(len(examples)), folds, wanted, classes)


class _Search:
    """The trials so far.

    Args:
        tried: called after each trial.
    """

    def __init__(self, tried: Callable[[Trial], object]) -> None:
        self._tried = tried
        self.outcomes: list[_Outcome] = []
        self._problem: _Problem | None = None
        """The latest problem."""
        self._earlier = 0
        """Number of the outcomes on earlier problems."""

    def compare(self, choices: Sequence[Settings], problem: "_Problem") -> None:
        """Tries choices of features. Each choice starts with the cost of the best trial so far."""
        self.attempt(choices[0], problem, _FIRST_COST)
        for choice in choices[1:]:
            trial = self.best().trial
            self.attempt(choice, problem, trial.settings.required_cost, trial.accuracy - _HOPELESS)

    def attempt(self, choice: Settings, problem: "_Problem", first_cost: float, hopeless: float = 0.0) -> None:
        """Tries the costs of a choice of features: see `_Problem.outcomes`."""
        if problem is not self._problem:
            self._problem, self._earlier = problem, len(self.outcomes)
        for outcome in problem.outcomes(choice, first_cost, hopeless):
            self._tried(outcome.trial)
            self.outcomes.append(outcome)

    def attempt_singles(self, cost: float | None, problem: "_Problem") -> None:
        """Tries the best choices of features with those of a single text too, unless they cannot be worth their number.

        Args:
            cost: as the settings have it: None if it is open.
            problem: the one that the choices were compared on.
        """
        best: dict[Settings, Trial] = {}
        for trial in sorted((outcome.trial for outcome in self.outcomes), key=lambda each: -each.accuracy):
            best.setdefault(replace(trial.settings, min_df=1, cost=cost), trial)
        for choice, trial in itertools.islice(best.items(), _SINGLES):
            accuracy = self.best().trial.accuracy
            if accuracy + _WORTH < 1:
                self.attempt(choice, problem, trial.settings.required_cost, accuracy - _HOPELESS)

    def best(self) -> _Outcome:
        """Returns the most accurate outcome on the latest problem, where unusual choices have to be worth it."""
        latest = self.outcomes[self._earlier :]
        return max(latest, key=lambda each: each.trial.accuracy - _WORTH * _is_unusual(each.trial.settings))


def _is_unusual(settings: Settings) -> bool:
    """Tells whether a choice has to be `_WORTH` more accurate than others."""
    return settings.min_df == 1 or settings.divergence_power == 0


def _selection(search: _Search, problem: "_Problem") -> Selection:
    """Returns the best trial of a search, calibrated on the held-out texts of the last problem."""
    chosen, classes = search.best(), problem.classes
    units = chosen.logits.shape[1]
    others = (classes - 1) / (units - 1) if units > 1 else 1.0
    calibration = temperature_scaling.fit(chosen.logits, chosen.classes, others, chosen.weights)
    calibrated = chosen.logits / np.float32(calibration.temperature) + np.float32(calibration.shift)
    return Selection(
        trials=[outcome.trial for outcome in search.outcomes],
        best=chosen.trial,
        calibration=calibration,
        held_out=sum(len(fold.held_out) for fold in problem.folds),
        folds=len(problem.folds),
        probabilities=temperature_scaling.probabilities(calibrated),
        classes=chosen.classes,
        weights=chosen.weights,
        sample=None if classes in (2, units) else units,
        by_soft_labels=bool((np.diff(problem.examples.judged(classes).indptr) > 1).any()),
    )


@dataclass(frozen=True)
class _Problem:
    """Texts and classes on which choices are tried."""

    examples: Examples
    rows: NDArray[np.int64]
    """(texts,), the positions of the used examples, in ascending order."""
    folds: Sequence[_Fold]
    """The folds. They hold positions in `rows`."""
    wanted: NDArray[np.int64]
    """(units,), the classes that are fitted, each against all others; class 1 alone if there are two. Held-out texts of
    other classes are left out."""
    classes: int
    """Number of all classes."""
    beginning: int | None = None
    """Number of characters of each text that are used, from its beginning; None: all."""

    def outcomes(self, choice: Settings, first_cost: float, hopeless: float) -> Iterator[_Outcome]:
        """Yields the outcome of each cost that is tried for a choice of features.

        If the choice leaves the cost open, the search starts at `first_cost` and moves to a neighbouring cost as long
        as that is more accurate. It ends after the first trial if its accuracy is below `hopeless`.
        """
        start = time.perf_counter()
        some = self.examples.take(self.rows)
        if self.beginning and some.texts:
            some = replace(some, texts=[text[: self.beginning] for text in some.texts])
        counts = features.count_matrix(features.vectorizer(choice), some)
        learned, judged = some.learned(self.classes), some.judged(self.classes)
        parts = [self._part(choice, counts, learned, judged, fold) for fold in self.folds]
        costs = _COSTS if choice.cost is None else (choice.cost,)
        accuracy: dict[int, float] = {}
        best, at = -1, costs.index(first_cost) if first_cost in costs else 0
        while at != best:
            best = at
            for near in (best, best - 1, best + 1):
                if 0 <= near < len(costs) and near not in accuracy:
                    outcome = self._outcome(replace(choice, cost=costs[near]), parts, start)
                    accuracy[near] = outcome.trial.accuracy
                    yield outcome
                    if max(accuracy.values()) < hopeless:
                        return
                    start = time.perf_counter()
            at = max(accuracy, key=lambda each: (accuracy[each], each == best))

    def _part(self, choice: Settings, counts: csr_array, learned: csr_array, judged: csr_array, fold: _Fold) -> _Part:
        learn = learned[fold.learn]
        weighting = features.fit_weighting(choice, counts[fold.learn], learn)
        copies, held_out = Copies.of(learn), Copies.of(judged[fold.held_out])
        if self.classes > 2:
            held_out = held_out.among(self.wanted)
        return _Part(
            copies.of_texts(weighting.vectors(counts[fold.learn])),
            copies.classes,
            copies.weights * class_weights(choice.class_weights, learn)[copies.classes],
            held_out.of_texts(weighting.vectors(counts[fold.held_out])),
            held_out.classes,
            held_out.weights,
        )

    def _outcome(self, choice: Settings, parts: Sequence[_Part], start: float) -> _Outcome:
        logits = []
        for part in parts:
            model = linear_svm.fit(
                part.learned,
                part.learned_classes,
                self.wanted,
                cost=choice.required_cost,
                weights=part.learned_weights,
                seed=choice.seed,
                tolerance=_TOLERANCE,
            )
            logits.append(part.held_out @ model.kernel + model.bias)
        scores = np.concatenate(logits)
        units = np.concatenate([part.held_out_classes for part in parts])
        weights = np.concatenate([part.held_out_weights for part in parts])
        accuracy = _accuracy(scores, units, weights, self.classes) if len(units) else 0.0
        trial = Trial(choice, accuracy, len(self.rows), time.perf_counter() - start)
        return _Outcome(trial, scores, units, weights)

    def characters(self) -> int:
        """Returns the number of characters of the texts."""
        texts = self.examples.texts or ()
        return sum(len(texts[row]) for row in self.rows)

    def are_long(self) -> bool:
        """Tells whether the texts, if they are known, have `_LONG` characters or more on average."""
        return self.examples.texts is not None and self.characters() >= _LONG * len(self.rows)

    def same(self, other: "_Problem") -> bool:
        """Tells whether both problems have the same texts and classes, where one is a sample of the other."""
        return (
            len(self.rows) == len(other.rows)
            and len(self.wanted) == len(other.wanted)
            and self.beginning == other.beginning
        )


def _accuracy(
    scores: NDArray[np.float32], units: NDArray[np.int64], weights: NDArray[np.float64], classes: int
) -> float:
    """Returns the accuracy of scores (texts, units).

    If the units are a sample of the classes, it estimates the accuracy on all classes. It assumes that the scores of
    the other classes are distributed like those that the units give texts of other classes.
    """
    if scores.shape[1] == 1:
        right: NDArray[Any] = (scores[:, 0] > 0) == units
    elif scores.shape[1] == classes:
        right = scores.argmax(axis=1) == units
    else:
        own = np.zeros(scores.shape, bool)
        own[np.arange(len(units)), units] = True
        others = np.sort(scores[~own])
        right = (np.searchsorted(others, scores[own]) / len(others)) ** (classes - 1)
    return float(np.average(right, weights=weights))


def _cross_validation(examples: Examples, random: np.random.Generator) -> Iterator[_Fold]:
    """Yields stratified folds. Copies of a text are in the same fold."""
    fold = fold_of_texts(_copies(examples), examples.classes, _FOLDS, random)
    for number in range(_FOLDS):
        yield _Fold(np.flatnonzero(fold != number), np.flatnonzero(fold == number))


def _copies(examples: Examples) -> NDArray[np.int64]:
    """Returns a number for each text, (texts,), equal for copies of a text."""
    keys = (sequence.tobytes() for sequence in examples.sequences)
    texts = keys if examples.texts is None else map(canonical, examples.texts)
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.int64)


def _some_classes(classes: int, count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Returns a sample of at least two classes, in ascending order, or class 1 alone if there are only two."""
    if classes == 2:
        return np.array([1])
    count = max(2, count)
    return np.arange(classes) if classes <= count else np.sort(random.choice(classes, count, replace=False))


def _sample(problem: _Problem, random: np.random.Generator) -> _Problem:
    """Returns a problem with a sample of the texts and classes, of long texts with their beginnings."""
    examples = problem.examples
    wanted = _some_classes(problem.classes, _SAMPLE_CLASSES, random)
    rows = random.permutation(np.flatnonzero((problem.classes == 2) | np.isin(examples.classes, wanted)))
    rows = rows[: min(_SAMPLE_TEXTS, _SAMPLE_UNITS // len(wanted))]
    texts = examples.texts or ()
    lengths = np.array([len(texts[row]) for row in rows])
    whole, least = int(np.searchsorted(np.cumsum(lengths), _SAMPLE_CHARACTERS)), min(len(rows), _SAMPLE_LEAST_TEXTS)
    beginning = None if whole >= least else _SAMPLE_CHARACTERS // least
    rows = np.sort(rows[: max(whole, least)])
    folds = [_Fold(*(np.flatnonzero(np.isin(rows, part)) for part in fold)) for fold in problem.folds]
    return replace(problem, rows=rows, folds=folds, wanted=wanted, beginning=beginning)
