"""Which texts are chosen to be labelled next, with versions that answer by the text itself."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from textfiles import TextFile
from textmodel import Prediction
from training.data.pool import PoolText
from training.data.text_hashes import text_hash
from training.evaluation.acquisition import Candidate, Unlabelled, by_disagreement, by_margin, choose, margins

FILE = TextFile(Path("pool.txt"))


def pool(texts: Sequence[str]) -> list[PoolText]:
    return [PoolText(text, FILE, number) for number, text in enumerate(texts, 1)]


class Version:
    """Answers with the probabilities that it is given for a text; a text without a letter has no word."""

    labels = ("a", "b", "c")

    def __init__(self, answers: dict[str, list[float]], learned: Sequence[str] = ()) -> None:
        self.engine = SimpleNamespace(classify=self._classify)
        self._answers = answers
        self._learned = [text_hash(text) for text in learned]

    def _classify(self, texts: Sequence[str]) -> Prediction:
        words = np.array([any(map(str.isalpha, text)) for text in texts], np.int32)
        return Prediction(np.array([self._answers[text] for text in texts], np.float32), words, words)

    def has_learned(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        return np.isin(hashes, self._learned)


def version(answers: dict[str, list[float]], learned: Sequence[str] = ()) -> Any:
    return Version(answers, learned)


def test_a_margin_is_the_difference_of_the_two_highest_probabilities() -> None:
    probabilities = np.array([[0.5, 0.25, 0.25], [0.125, 0.25, 0.625], [0.5, 0.5, 0]])
    assert margins(probabilities).tolist() == [0.25, 0.375, 0]


def test_texts_are_scored_by_the_margin_and_those_without_a_word_are_not() -> None:
    answers = {"x": [0.25, 0.625, 0.125], "!!": [0.5, 0.5, 0], "y": [0.5, 0.25, 0.25]}
    texts = pool(list(answers))
    assert list(by_margin(version(answers), texts)) == [
        Candidate(texts[0], 0.375, ["b"], [0.625]),
        Candidate(texts[2], 0.25, ["a"], [0.5]),
    ]


def test_texts_on_which_versions_disagree_are_scored_by_the_less_sure_one() -> None:
    first = {"x": [0.75, 0.25, 0], "y": [0.75, 0.25, 0], "z": [0.5, 0.25, 0.25], "!!": [1.0, 0, 0]}
    second = {"x": [0.625, 0.375, 0], "y": [0.125, 0.25, 0.625], "z": [0.125, 0.875, 0], "!!": [0, 1.0, 0]}
    texts = pool(list(first))
    assert list(by_disagreement(version(first), version(second), texts)) == [
        Candidate(texts[1], -0.625, ("a", "c"), (0.75, 0.625)),
        Candidate(texts[2], -0.5, ("a", "b"), (0.5, 0.875)),
    ]


def test_texts_that_a_version_has_learned_or_that_have_a_label_are_left_out() -> None:
    unlabelled = Unlabelled([version({}, ["one"]), version({}, ["Two!"])], pool(["three"]))
    left = unlabelled.of(pool(["one", "two", "THREE", "four", "five"]))
    assert [each.text for each in left] == ["four", "five"]
    assert unlabelled.left_out == 3


def candidates(texts: Sequence[str]) -> list[Candidate]:
    """Returns candidates of which the later ones should be labelled sooner."""
    return [Candidate(text, -text.number, ["a"], [0.5]) for text in pool(texts)]


@pytest.mark.parametrize(("count", "chosen"), [(1, ["three"]), (2, ["three", "two"]), (9, ["three", "two", "one"])])
def test_the_candidates_of_the_lowest_scores_are_chosen(count: int, chosen: list[str]) -> None:
    assert [each.text.text for each in choose(candidates(["one", "two", "three"]), count)] == chosen


LETTERS = "abcdefghijklmnopqrs"
"""17 runs of three letters."""


@pytest.mark.parametrize(
    ("other", "is_duplicate"),
    [
        (LETTERS, True),
        (f" {LETTERS.upper()}! ", True),
        (LETTERS[:16] + "xyz", True),  # shares 14 of 20
        (LETTERS[:15] + "wxyz", False),  # shares 13 of 21
    ],
)
def test_of_texts_that_share_seven_tenths_of_their_trigrams_one_is_chosen(other: str, is_duplicate: bool) -> None:
    chosen = [each.text.text for each in choose(candidates([LETTERS, other]), 2)]
    assert chosen == ([other] if is_duplicate else [other, LETTERS])


def test_texts_shorter_than_a_trigram_are_compared_as_a_whole() -> None:
    chosen = choose(candidates(["a", "A.", "ab", "b", "", "가"]), 9)
    assert [each.text.text for each in chosen] == ["가", "", "b", "ab", "A."]
