"""Defines what a model is and how it runs, for training and service alike: tokenization, vocabulary, n-gram features,
the version folder with its metadata, weights and golden probes, and the engines that classify texts in process.

It works alone: `load_engine("models/imdb/1").classify(["A moving film."])`. It knows nothing of training, gRPC or
metrics.
"""

from textmodel.engine import Engine, Prediction
from textmodel.errors import ModelError
from textmodel.loading import load_engine
from textmodel.version_folder import VersionFolder

__all__ = ["Engine", "ModelError", "Prediction", "VersionFolder", "load_engine"]
