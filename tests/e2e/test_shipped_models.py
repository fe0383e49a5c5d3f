"""The shipped models, served, as a newcomer meets them and on the whole of the real test data."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import raw_texts
from tests.server_process import ROOT, ServerProcess, serving
from text_classifier import Client

DENSE, NGRAM = 1, 2
"""The versions, by their presets."""
FILM = "A moving, beautifully shot film."
NEWSWIRE = (
    "Saudi crude oil output rose to 4.2 mln barrels per day in March, above its OPEC quota, and spot prices of North"
    " Sea Brent eased, traders said. OPEC ministers meet in Vienna to discuss the production ceiling."
)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with serving(ROOT / "models", "--keep-versions", "2") as running:
        yield running


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.address, timeout=60) as open_client:
        yield open_client


def test_a_praised_film_is_positive_and_an_oil_newswire_is_crude(client: Client) -> None:
    assert client.classify([FILM], model="imdb")[0].label == "positive"
    assert client.classify([NEWSWIRE], model="reuters")[0].label == "crude"


def test_every_shipped_model_is_served_by_the_compiled_engine(client: Client) -> None:
    assert {(model.name, model.version, model.engine, model.in_service) for model in client.models()} == {
        *(("imdb", DENSE, "compiled", False), ("imdb", NGRAM, "compiled", True)),
        *(("reuters", DENSE, "compiled", False), ("reuters", NGRAM, "compiled", True)),
        ("nsmc", 1, "compiled", True),
    }


@pytest.mark.parametrize("version", [DENSE, NGRAM])
@pytest.mark.parametrize("model", ["imdb", "reuters"])
def test_served_accuracy_on_the_raw_test_texts_is_the_model_card_s(
    client: Client, data_dir: Path, model: str, version: int
) -> None:
    texts, labels = raw_texts.test_rows(data_dir, model)
    right = 0
    for start in range(0, len(texts), 500):
        answers = client.classify(texts[start : start + 500], model=model, version=version)
        right += sum(answer.label == label for answer, label in zip(answers, labels[start : start + 500], strict=True))
    assert right / len(texts) == pytest.approx(client.model(model, version=version).test_accuracy, abs=0.0005)
