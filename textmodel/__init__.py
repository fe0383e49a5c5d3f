"""What a model is and how it runs, once, for every side: the tokenization, the vocabulary, the version folder with its
metadata and golden probes, and the engines that turn texts into probabilities in process.

Useful alone: `load_engine("models/imdb/1").classify(["A moving film."])`. Nothing of training, gRPC or metrics
enters here.
"""

from textmodel.engine import Engine, Prediction
from textmodel.errors import ModelError
from textmodel.loading import load_engine
from textmodel.version_folder import VersionFolder

__all__ = ["Engine", "ModelError", "Prediction", "VersionFolder", "load_engine"]
