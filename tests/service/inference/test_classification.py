"""Requests at their limits and what becomes of an engine's answer, without an engine."""

import asyncio
import math
from collections.abc import Sequence
from time import perf_counter
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from service.errors import InvalidArgument
from service.grpc.text_classifier_servicer import TextClassifierServicer
from service.inference.classification import ClassificationService, RequestLimits, deadline_of
from service.inference.servable import Servable
from text_classifier.v1 import text_classifier_pb2 as pb2
from textmodel import Prediction

LIMITS = RequestLimits(texts=3, text_bytes=10, explained_bytes=1000)
LABELS = ("x", "y", "z")
ROWS = {"a": [0.25, 0.5, 0.25], "b": [0.125, 0.125, 0.75], "tie": [0.375, 0.25, 0.375]}


class Answering:
    """A batcher that answers at once by the text, and metrics that keep what they are told."""

    def __init__(self) -> None:
        self.deadlines: list[float] = []
        self.told: list[tuple[Any, ...]] = []

    def classify(
        self, texts: Sequence[str], size: int, deadline: float, observation: None
    ) -> asyncio.Future[Prediction]:
        self.deadlines.append(deadline)
        future = asyncio.get_running_loop().create_future()
        rows = np.array([ROWS.get(text, ROWS["a"]) for text in texts], np.float32)
        words = np.arange(1, len(texts) + 1, dtype=np.int32)
        future.set_result(Prediction(rows, words, words - 1))
        return future

    def classified(self, *told: Any) -> None:
        self.told.append(told)


def classify(request: pb2.ClassifyRequest, answering: Answering) -> pb2.ClassifyResponse:
    unused: Any = None
    stand_in: Any = answering
    metadata: Any = SimpleNamespace(abstention=SimpleNamespace(thresholds=(0.6, 0.5, 0.76)))
    servable = Servable("m", 3, LABELS, metadata, unused, stand_in, stand_in, unused)
    repository: Any = SimpleNamespace(get=lambda name, version, field: servable)
    servicer = TextClassifierServicer(repository, ClassificationService(repository, LIMITS), "grpcio")
    context = SimpleNamespace(time_remaining=lambda: None)
    return asyncio.run(servicer.Classify(request, context))


def answer(texts: Sequence[str], **fields: Any) -> pb2.ClassifyResponse:
    return classify(pb2.ClassifyRequest(model="m", texts=texts, **fields), Answering())


@pytest.mark.parametrize("texts", [["a"], ["a"] * 3, ["x" * 10], ["é" * 5], ["😀" * 2 + "ab"]])
def test_a_request_at_its_limits_is_answered(texts: list[str]) -> None:
    assert len(answer(texts).classifications) == len(texts)


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ([], "texts: holds no text; send at least one"),
        (["a"] * 4, "texts: holds 4 texts; at most 3 fit into a request: split it"),
        (["a", "x" * 11], "texts[1]: has 11 bytes; at most 10 are allowed"),
        (["é" * 5 + "a"], "texts[0]: has 11 bytes; at most 10 are allowed"),
        (["😀" * 3], "texts[0]: has 12 bytes; at most 10 are allowed"),
    ],
)
def test_a_request_beyond_its_limits_is_refused_with_its_field(texts: list[str], says: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        answer(texts)
    assert str(error.value) == says


@pytest.mark.parametrize("texts", [["a"], ["b"], ["tie"], ["a", "b", "tie"]])
def test_the_label_is_the_most_probable_the_first_of_equals(texts: list[str]) -> None:
    found = {"a": ("y", 0.5), "b": ("z", 0.75), "tie": ("x", 0.375)}
    response = answer(texts)
    assert (response.model, response.version) == ("m", 3)
    assert [(each.label, each.probability) for each in response.classifications] == [found[text] for text in texts]
    assert [(each.words, each.known_words) for each in response.classifications] == [(1, 0), (2, 1), (3, 2)][
        : len(texts)
    ]
    assert not any(each.scores or each.abstained for each in response.classifications)


@pytest.mark.parametrize(("top_k", "scored"), [(1, ["x"]), (2, ["x", "z"]), (3, ["x", "z", "y"]), (9, ["x", "z", "y"])])
def test_scores_fall_and_the_first_of_equals_leads(top_k: int, scored: list[str]) -> None:
    (each,) = answer(["tie"], top_k=top_k).classifications
    assert [score.label for score in each.scores] == scored
    assert each.scores[0].probability == 0.375


def test_a_negative_number_of_scores_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="top_k: -1 is negative"):
        answer(["a"], top_k=-1)


@pytest.mark.parametrize(
    ("fields", "abstained"),
    [
        ({"min_probability": 0.5}, [False, False, True]),
        ({"min_probability": 0.75}, [True, False, True]),
        ({"min_probability": 0.76}, [True, True, True]),
        ({"min_probability": 1.0}, [True, True, True]),
        ({"use_thresholds": True}, [False, True, True]),
        ({"use_thresholds": True, "min_probability": 0.51}, [True, True, True]),
        ({}, [False, False, False]),
    ],
)
def test_an_answer_below_its_threshold_is_marked_and_one_at_it_is_not(
    fields: dict[str, Any], abstained: list[bool]
) -> None:
    assert [each.abstained for each in answer(["a", "b", "tie"], **fields).classifications] == abstained


@pytest.mark.parametrize("min_probability", [-0.01, 1.01, math.nan])
def test_what_is_no_probability_is_refused(min_probability: float) -> None:
    with pytest.raises(InvalidArgument, match=r"min_probability: .* is no probability: send a number from 0 to 1"):
        answer(["a"], min_probability=min_probability)


def test_the_metrics_are_told_of_every_text() -> None:
    answering = Answering()
    classify(pb2.ClassifyRequest(model="m", texts=["a", "b"]), answering)
    assert answering.told == [([1, 2], [0.5, 0.75], [1, 2], [0, 1])]
    assert answering.deadlines == [math.inf]


def test_a_deadline_is_a_time_from_now() -> None:
    before = perf_counter()
    deadline = deadline_of(SimpleNamespace(time_remaining=lambda: 1000.0))
    assert before + 1000 <= deadline <= perf_counter() + 1000


def test_up_to_64_texts_of_the_limit_together_are_explained() -> None:
    service = ClassificationService(cast("Any", None), LIMITS)
    service.check_explained(["a"] * 64)
    service.check_explained(["é" * 250, "é" * 250])
    with pytest.raises(InvalidArgument, match="texts: holds 65 texts; at most 64 are explained"):
        service.check_explained(["a"] * 65)
    with pytest.raises(InvalidArgument, match=r"has 1001 bytes; at most 1000 are explained .*--max-explain-bytes"):
        service.check_explained(["é" * 500, "a"])
