from dataclasses import replace

import numpy as np
import pytest

from tests.training.classifiers.test_ngram import korean
from training.classifiers import selection
from training.classifiers.features import describe
from training.classifiers.selection import candidates, select
from training.data.keras_datasets import Examples
from training.settings import OWN_DATA, PRESETS, Settings

AUTO = replace(PRESETS[OWN_DATA]["ngram"], buckets=2**12)
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]


def _topics(count: int, classes: int = 2, noise: float = 0.3) -> Examples:
    """Returns texts of which some words tell the class, with noise."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % classes
    texts = [
        " ".join([*random.choice(WORDS, 4), f"topic{label if random.random() > noise else random.integers(classes)}"])
        for label in labels
    ]
    return Examples([np.array([1, 2], np.int32)] * count, labels, [f"{text} {n}" for n, text in enumerate(texts)])


def test_all_features_are_tried_where_the_user_fixes_none() -> None:
    assert [describe(each) for each in candidates(AUTO)] == [
        "words 1-2 + characters 1-5 across words",
        "words 1-2 + characters 2-5 within words",
        "words 1-2",
        "words",
        "characters 1-5 across words",
        "characters 2-5 within words",
    ]


@pytest.mark.parametrize(
    ("fixed", "left"),
    [
        ({"features": "words", "max_ngram": 3}, ["words 1-3"]),
        ({"features": "words"}, ["words 1-2", "words"]),
        (
            {"features": "characters", "char_ngrams": (3, 3), "char_spans": "within-words"},
            ["characters 3-3 within words"],
        ),
        ({"features": "both", "char_spans": "within-words", "max_ngram": 1}, ["words + characters 2-5 within words"]),
    ],
)
def test_what_the_user_fixes_stays(fixed: dict[str, object], left: list[str]) -> None:
    assert {describe(each) for each in candidates(replace(AUTO, **fixed))} == set(left)  # type: ignore[arg-type]


def test_keras_data_sets_have_their_preset_alone() -> None:
    assert candidates(PRESETS["imdb"]["ngram"]) == [PRESETS["imdb"]["ngram"]]


def test_endings_choose_characters_and_the_trials_are_shown_as_they_come() -> None:
    shown: list[selection.Trial] = []
    found = select(AUTO, korean(90), 2, shown.append)
    assert found.best.accuracy == 1
    assert "characters" in describe(found.best.settings)
    assert shown == list(found.trials)
    assert (found.folds, found.held_out) == (3, 90)
    by_features = {describe(trial.settings): trial.accuracy for trial in found.trials}
    assert by_features["words"] < 0.7
    assert [describe(trial.settings) for trial in found.trials].count("words") == 1  # not worth another cost


def test_noisy_texts_get_a_lower_cost_than_clear_ones() -> None:
    settings = replace(AUTO, features="words", max_ngram=1, min_df=1)
    costs = [select(settings, _topics(600, 4, noise), 4).best.settings.required_cost for noise in (0.0, 0.7)]
    assert costs[1] <= 0.3 <= costs[0]


def test_features_of_one_text_are_tried_last_where_few_short_texts_leave_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noisy, clear = (select(AUTO, examples, 2) for examples in (_topics(90), korean(90)))
    tried = [trial.settings.min_df for trial in noisy.trials]
    assert tried == sorted(tried, key=lambda each: each != 2)  # after all others
    assert set(tried) == {1, 2}
    assert len({describe(trial.settings) for trial in noisy.trials if trial.settings.min_df == 1}) == 2
    assert {trial.settings.min_df for trial in clear.trials} == {2}  # no error is left
    fixed = select(replace(AUTO, min_df=2), _topics(90), 2)
    assert {trial.settings.min_df for trial in fixed.trials} == {2}
    monkeypatch.setattr(selection, "_FEW_CHARACTERS", 1000)
    assert {trial.settings.min_df for trial in select(AUTO, _topics(90), 2).trials} == {2}


@pytest.mark.parametrize(("worth", "min_df"), [(0.0, 1), (0.9, 2)])
def test_features_of_one_text_are_chosen_if_they_are_worth_their_number(
    worth: float, min_df: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of the pairs of words, all but a few occur once: a pair tells the class that its words alone do not.
    random = np.random.default_rng(0)
    words = [f"w{n}" for n in range(24)]
    pairs = [(first, second) for first in words for second in words if first < second]
    texts = [f"{first} {second}" for first, second in pairs for _ in range(2)]
    monkeypatch.setattr(selection, "_WORTH", worth)
    monkeypatch.setattr(selection, "_copies", lambda examples: np.arange(len(examples)))
    classes = np.repeat(random.integers(0, 2, len(pairs)), 2)
    settings = replace(AUTO, features="words", max_ngram=2, buckets=2**16)
    found = select(settings, Examples([np.array([1], np.int32)] * len(texts), classes, texts), 2)
    assert found.best.settings.min_df == min_df


def test_a_fixed_cost_is_kept() -> None:
    found = select(replace(AUTO, features="words", cost=0.7), _topics(90), 2)
    assert {trial.settings.cost for trial in found.trials} == {0.7}


def test_the_same_texts_and_seed_choose_the_same() -> None:
    first, second = (select(AUTO, _topics(120), 2) for _ in range(2))
    assert [(t.settings, t.accuracy) for t in first.trials] == [(t.settings, t.accuracy) for t in second.trials]
    assert first.calibration == second.calibration


def test_many_texts_hold_out_the_validation_texts_and_adjust_the_cost_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_FEW_TEXTS", 100)
    monkeypatch.setattr(selection, "_SAMPLE_TEXTS", 80)
    found = select(replace(AUTO, validation_samples=60), _topics(300), 2)
    assert (found.folds, found.held_out) == (1, 60)
    assert found.best.texts == 300
    assert {trial.texts for trial in found.trials} == {80, 300}


def test_many_classes_are_chosen_for_and_calibrated_by_a_sample_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_SAMPLE_CLASSES", 5)
    monkeypatch.setattr(selection, "MAX_UNITS", 300 * 6)
    found = select(AUTO, _topics(300, classes=20, noise=0.0), 20)
    assert {trial.texts for trial in found.trials} == {75, 300}
    assert found.best.texts == 300
    assert 0.05 < found.calibration.temperature < 1
    assert found.sample == 6
    assert select(AUTO, _topics(90), 2).sample is None


def test_features_of_few_long_texts_are_chosen_by_the_beginnings_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    topics = _topics(60)
    # The beginnings tell more than the whole texts, since the other word often stands at the end.
    texts = [f"{'oil' if label else 'tea'} {n} {'oil' if n % 3 else 'tea'}" for n, label in enumerate(topics.classes)]
    examples = replace(topics, texts=texts)
    whole = select(AUTO, examples, 2)
    monkeypatch.setattr(selection, "_SAMPLE_CHARACTERS", 60 * 3)  # of each of the 60 texts
    found = select(AUTO, examples, 2)
    assert {trial.texts for trial in found.trials} == {60}
    assert len(found.trials) > 6
    assert found.trials[0].accuracy > whole.trials[0].accuracy
    assert found.best.accuracy == select(found.best.settings, examples, 2).best.accuracy  # on the whole texts


def test_long_texts_that_differ_by_counts_alone_are_weighed_without_the_divergence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(0)
    classes = np.arange(60) % 2
    shares = [np.array([0.1 + 0.3 * label, 0.4 - 0.3 * label, *[0.5 / 8] * 8]) for label in classes]
    texts = [
        " ".join([*random.choice(WORDS, 200, p=share), *(f"rare{n}" for n in random.integers(0, 300, 60))])
        for share in shares
    ]
    examples = Examples([np.array([1, 2], np.int32)] * 60, classes, texts)
    words = replace(AUTO, features="words", max_ngram=1)
    short = select(words, examples, 2)
    assert {trial.settings.divergence_power for trial in short.trials} == {0.35}
    monkeypatch.setattr(selection, "_LONG", 500)
    found = select(words, examples, 2)
    assert found.best.settings.divergence_power == 0
    assert found.best.accuracy > short.best.accuracy + 0.1
    fixed = select(replace(words, divergence_power=0.75), examples, 2)
    assert {trial.settings.divergence_power for trial in fixed.trials} == {0.75}


def test_copies_of_a_text_are_in_one_fold() -> None:
    # Learned by heart from copies, noise would look like knowledge.
    random = np.random.default_rng(0)
    texts = [f"word{n} other{n}" for n in range(60)] * 4
    classes = np.tile(random.integers(0, 2, 60), 4)
    found = select(replace(AUTO, min_df=1), Examples([np.array([1], np.int32)] * 240, classes, texts), 2)
    assert found.best.accuracy < 0.75


@pytest.mark.parametrize("settings", [AUTO, replace(AUTO, min_df=50), replace(AUTO, class_weights="balanced")])
@pytest.mark.parametrize("count", [4, 6])
def test_very_few_texts_are_no_error(settings: Settings, count: int) -> None:
    found = select(settings, korean(count), 2)
    assert np.isfinite(found.calibration).all()


def test_the_accuracy_of_all_classes_is_estimated_by_a_sample_of_them() -> None:
    # Among few classes a text is right more often, and other costs are best.
    random = np.random.default_rng(0)
    scores, units = random.normal(size=(5_000, 200)).astype(np.float32), random.integers(0, 200, 5_000)
    scores[np.arange(5_000), units] += 3
    of_the_sample = units < 20
    sample = scores[of_the_sample, :20], units[of_the_sample], np.ones(of_the_sample.sum())
    every = selection._accuracy(scores, units, np.ones(5_000), 200)
    assert selection._accuracy(*sample, 200) == pytest.approx(every, abs=0.05)
    assert every < selection._accuracy(*sample, 20) - 0.1
