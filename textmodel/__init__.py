"""Defines what a model is and how it runs, for training and service alike: tokenization, vocabulary, n-gram features,
the version folder with its metadata, weights and golden probes, and the engines that classify texts in process.

It works without a server: `load_engine("models/imdb/1").classify(["A moving film."])`. It does not depend on training,
gRPC or metrics.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textmodel.engine import Engine, Prediction
    from textmodel.errors import ModelError
    from textmodel.loading import load_engine
    from textmodel.version_folder import VersionFolder
else:
    _MODULES = {
        "Engine": "engine",
        "ModelError": "errors",
        "Prediction": "engine",
        "VersionFolder": "version_folder",
        "load_engine": "loading",
    }

    def __getattr__(name: str) -> Any:
        """Imports a name on first use, so that `textmodel.names` needs no installed package."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


__all__ = ["Engine", "ModelError", "Prediction", "VersionFolder", "load_engine"]
