"""The Python client: `Client`, `AsyncClient` and the generated stubs.

    with Client() as client:
        client.classify(["A moving film."], model="imdb")

Needs grpcio and protobuf only. This package imports no other package of the project.
"""

from text_classifier.async_client import AsyncClient
from text_classifier.client import Client
from text_classifier.results import (
    Classification,
    Explanation,
    LabelScore,
    Model,
    ModelList,
    Server,
    Shadow,
    State,
    WordContribution,
)

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "Classification",
    "Client",
    "Explanation",
    "LabelScore",
    "Model",
    "ModelList",
    "Server",
    "Shadow",
    "State",
    "WordContribution",
]
