"""What a client program imports: the typed clients and the generated stubs.

    with Client() as client:
        client.classify(["A moving film."], model="imdb")

Needs grpcio and protobuf only; TensorFlow, NumPy and the other rooms of this project never enter here.
"""

from text_classifier.async_client import AsyncClient
from text_classifier.client import Client
from text_classifier.results import Classification, Explanation, LabelScore, Model, State, WordContribution

__version__ = "0.1.0"

__all__ = ["AsyncClient", "Classification", "Client", "Explanation", "LabelScore", "Model", "State", "WordContribution"]
