"""The Python client: `Client`, `AsyncClient` and the generated stubs.

    with Client() as client:
        client.classify(["A moving film."], model="imdb")

It needs only grpcio and protobuf, and imports no other package of the project.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_CLIENTS = {"AsyncClient": "async_client", "Client": "client"}


def __getattr__(name: str) -> object:
    """Imports a name on first use, so that the command can set gRPC's environment before gRPC is imported."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_CLIENTS.get(name, 'results')}"), name)
    globals()[name] = value
    return value
